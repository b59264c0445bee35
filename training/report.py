"""What a build read, dropped and cut, and why, with one example each: the `report` of a manifest."""

from dataclasses import asdict, dataclass, field

from training.contamination import Passage
from training.documents import Broken
from training.duplicates import Match

EXAMPLE = 160  # characters
MOST_LINES = 20  # broken lines that are named


@dataclass
class Report:
    """Counts of documents, as JSON types; `dropped`, `duplicates` and `contamination` by name, each with an example."""

    read: int = 0
    kept: int = 0
    broken_lines: int = 0
    broken: list[dict] = field(default_factory=list)
    dropped: dict[str, dict] = field(default_factory=dict)
    duplicates: dict[str, dict] = field(default_factory=dict)
    contamination: dict[str, dict] = field(default_factory=dict)
    contaminated: int = 0  # documents dropped for their test texts
    absent_test_sets: list[str] = field(default_factory=list)

    def add_broken(self, file: str, line: Broken) -> None:
        """A line that could not be read."""
        self.broken_lines += 1
        if len(self.broken) < MOST_LINES:
            self.broken.append({"file": file} | asdict(line))

    def add_dropped(self, name: str, reason: str, text: str) -> None:
        """A document that the filter `name` dropped."""
        entry = self.dropped.setdefault(name, {"documents": 0, "reason": reason, "example": shortened(text)})
        entry["documents"] += 1

    def add_duplicate(self, match: Match, text: str, earlier: str) -> None:
        """A document that repeats an earlier one."""
        example = {"similarity": round(match.similarity, 3), "example": shortened(text), "earlier": shortened(earlier)}
        self.duplicates.setdefault(match.kind, {"documents": 0} | example)["documents"] += 1

    def add_contaminated(self, names: list[str], passages: tuple[Passage, ...], dropped: bool) -> None:
        """A document with texts of the test sets (`names` in their order), dropped, or without those lines."""
        self.contaminated += dropped
        met = set()
        for passage in passages:
            for name in (names[index] for index in passage.sets):
                blank = {"documents_dropped": 0, "documents_cut": 0, "lines": 0, "example": shortened(passage.text)}
                entry = self.contamination.setdefault(name, blank)
                entry["lines"] += 1
                met.add(name)
        for name in met:
            self.contamination[name]["documents_dropped" if dropped else "documents_cut"] += 1


def shortened(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 2 * EXAMPLE].split())
    return line if len(line) <= EXAMPLE else f"{line[: EXAMPLE - 1]}…"
