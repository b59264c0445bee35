"""Calibration documents without a text that anything is measured on."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.calibration_texts.measured import MEASURED, OWN_TEXTS
from training.contamination import HeldOutTexts, without
from training.words import Document


@dataclass
class Cleanser:
    """Drops documents, or paragraphs of them, that have a run of words of a measured set (`training.contamination`).

    `root` is the data folder. `found` counts the lines in common by set, `cut` the lines and `dropped` the documents
    that went, by part.
    """

    root: Path
    found: Counter = field(default_factory=Counter)
    cut: Counter = field(default_factory=Counter)
    dropped: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.sets = (*(each for each in MEASURED if (self.root / each.path).exists()), OWN_TEXTS)
        self.absent = [each.name for each in MEASURED if each not in self.sets]
        self.texts = HeldOutTexts.read(self.root, self.sets)

    def prose(self, part: str, documents: Iterable[str]) -> Iterator[str]:
        """The documents without the lines that are measured on; one that lost half of its words is dropped."""
        for text in documents:
            document = Document(text)
            passages = self._passages(document)
            rest = without(document, passages) if passages else document
            if rest is None:
                self.dropped[part] += 1
            else:
                self.cut[part] += len(passages)
                yield rest.text

    def whole(self, part: str, documents: Iterable, text_of) -> Iterator:
        """The documents that hold nothing that is measured on: code and dialogues do not stand a missing line."""
        for document in documents:
            if self._passages(Document(text_of(document))):
                self.dropped[part] += 1
            else:
                yield document

    def _passages(self, document: Document) -> list:
        passages = self.texts.find(document)
        self.found.update(self.sets[index].name for passage in passages for index in passage.sets)
        return passages

    def as_dict(self) -> dict:
        """What was looked for and what was found, as JSON types."""
        return {
            "rule": "runs of 13 words; sentences of 6 to 12 words of sets of sentences as a whole",
            "sets": {each.name: self.texts.count(index) for index, each in enumerate(self.sets)},
            "absent_sets": self.absent,
            "lines_in_common": dict(sorted(self.found.items())),
            "lines_cut": dict(sorted(self.cut.items())),
            "documents_dropped": dict(sorted(self.dropped.items())),
        }
