"""Several results files as one document, refused where they were measured under two protocols.

A figure of one file is comparable with the same figure of another if each knows a protocol of the other's: equal in
every entry but those that say how a measurement went (load, clocks, repeats) and those that follow from the tokenizer
where the tokenizers differ. What depends on the machine (times, peaks) is comparable only between equal ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.reporting.headings import title
from evals.runs.results import FILE_NAME, Result, read_results
from models.errors import RequestError

# How a measurement went, not what was measured; and what the digests of a task and its rows tell already.
CONDITIONS = {
    "load_before", "load_after", "interval_over", "repeats", "runs", "warmup_runs", "libraries_bytes", "confusion",
    "contexts_cut", "foreign_cpu_share", "rounds_disturbed", "rounds_measured_again", "details",
    "rows_available", "shots",
}  # fmt: skip
# What follows from the tokenizer: compared only where the vocabularies are of one size.
OF_THE_TOKENIZER = {"windows", "tokens_scored", "tokens_sha256", "bos", "shortened_from"}
OF_THE_MACHINE = ("cpu", "gpu", "threads")


class Incomparable(RequestError):
    """Two results files were measured under different protocols."""


@dataclass(frozen=True)
class Source:
    """A results file: its path, a short label that no other file has, and its document."""

    path: Path
    label: str
    document: dict

    @property
    def results(self) -> list[Result]:
        """Its results."""
        return [Result.from_dict(entry) for entry in self.document["results"]]

    def model(self, name: str) -> dict:
        """What it tells of a model."""
        return next(model for model in self.document["models"] if model["id"] == name)


def find_sources(folders: Iterable[Path | str]) -> list[Source]:
    """All results files in and below some folders, in order of their paths.

    RequestError for a folder that does not exist or holds none, InvalidResults for a file that is no results document.
    """
    paths: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.exists():
            raise RequestError(f"{folder} does not exist: check the path.")
        found = [folder] if folder.is_file() else sorted(folder.rglob(FILE_NAME))
        if not found:
            raise RequestError(
                f"There is no {FILE_NAME} in or below {folder}: run `python -m evals run` with --out there."
            )
        paths |= {path.resolve(): path for path in found}
    kept = list(paths.values())
    return [Source(path, label, read_results(path)) for path, label in zip(kept, _labels(kept), strict=True)]


def merge(sources: Sequence[Source], groups: Sequence[str] = ()) -> dict:
    """The files as one document, whose `sources` say where each was measured; `groups` limits it to some metrics.

    A model that several files measured keeps its figures of the first, and a note says so. Two models of one name get
    the labels of their files. Raises Incomparable, naming the files and what differs.
    """
    refuse_unknown(sources, groups)
    chosen = [
        Source(source.path, source.label, source.document | {"results": _of_groups(source.document["results"], groups)})
        for source in sources
    ]
    refuse_mismatch(chosen)
    first = chosen[0].document
    if len(chosen) == 1:
        return first
    names = _names(chosen)
    models: dict[str, dict] = {}
    results: dict[tuple, dict] = {}
    repeated: dict[str, set[str]] = {}
    for source in chosen:
        for model in source.document["models"]:
            name = names[source.label, model["id"]]
            models.setdefault(name, model | {"id": name})
        for entry in source.document["results"]:
            baseline = entry["baseline"] and names[source.label, entry["baseline"]]
            entry = entry | {"model": names[source.label, entry["model"]], "baseline": baseline}
            key = _identity(Result.from_dict(entry))
            if key in results and results[key]["value"] != entry["value"]:
                repeated.setdefault(entry["model"], set()).add(source.label)
            results.setdefault(key, entry)
    notes = [note for source in chosen for note in source.document["notes"]]
    notes += [
        f"{model} was measured again in {' and '.join(sorted(labels))}: the figures shown are those of the first file."
        for model, labels in repeated.items()
    ]
    places = [
        {"file": str(source.path)} | {key: source.document[key] for key in ("created", "command", "environment")}
        for source in chosen
    ]
    merged = {"models": list(models.values()), "results": list(results.values()), "notes": list(dict.fromkeys(notes))}
    return first | merged | {"sources": places}


def refuse_unknown(sources: Sequence[Source], groups: Sequence[str]) -> None:
    """RequestError for a group that no file has."""
    known = list(dict.fromkeys(result.group for source in sources for result in source.results))
    for group in groups:
        if group not in known:
            raise RequestError(f"No file has results of {group!r}: choose among {', '.join(known)}.")


def refuse_mismatch(sources: Sequence[Source]) -> None:
    """Raises Incomparable at the first figure that two files measured under different protocols."""
    known: dict[tuple, list[tuple[Source, Result]]] = {}
    for source in sources:
        figures: dict[tuple, list[tuple[Source, Result]]] = {}
        for result in source.results:
            key = (result.group, result.task, result.measurement.metric, result.baseline is not None)
            figures.setdefault(key, []).append((source, result))
        for key, members in figures.items():
            if key in known:
                _refuse_apart(known[key], members)
            known.setdefault(key, members)


def _refuse_apart(first: list[tuple[Source, Result]], second: list[tuple[Source, Result]]) -> None:
    differences = [_differences(one, other) for one in first for other in second]
    nearest = min(differences, key=len)
    if not nearest:
        return
    (source, result), (other, _) = first[0], second[0]
    name = f"{result.task}: {result.measurement.metric}" if result.task else result.measurement.metric
    told = "; ".join(f"{title(key, first=False)} {new} against {old}" for key, (old, new) in nearest.items())
    raise Incomparable(
        f"{other.path} cannot be compared with {source.path}: {name} was measured under another protocol ({told}). "
        "Report them apart, leave this out by --metrics, or measure again under one protocol."
    )


def _differences(one: tuple[Source, Result], other: tuple[Source, Result]) -> dict[str, tuple]:
    """The entries in which two results' protocols differ, with both values."""
    first, second = _compared(*one), _compared(*other)
    if one[0].model(one[1].model).get("vocabulary") != other[0].model(other[1].model).get("vocabulary"):
        first, second = ({k: v for k, v in entries.items() if k not in OF_THE_TOKENIZER} for entries in (first, second))
    return {
        key: (first.get(key), second.get(key))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    }


def _compared(source: Source, result: Result) -> dict:
    """What of a result must be equal in another file for the two to be comparable."""
    protocol = {key: value for key, value in result.measurement.protocol.items() if key not in CONDITIONS}
    if protocol.get("name") == "exact":
        return protocol
    protocol.setdefault("dtype", source.model(result.model).get("dtype"))
    if _is_of_the_machine(result):
        return protocol | {key: source.document["environment"][key] for key in OF_THE_MACHINE}
    return protocol | {"quick": bool(source.document["settings"].get("quick"))}


def _is_of_the_machine(result: Result) -> bool:
    """Times say how many threads they were taken with; peaks depend on the libraries' build and the allocator."""
    return "threads" in result.measurement.protocol or result.measurement.metric.startswith("peak_")


def _identity(result: Result) -> tuple:
    measurement = result.measurement
    protocol = sorted((key, str(value)) for key, value in measurement.protocol.items() if key not in CONDITIONS)
    return result.model, result.baseline, result.group, measurement.metric, tuple(protocol)


def _of_groups(results: list[dict], groups: Sequence[str]) -> list[dict]:
    return [entry for entry in results if not groups or entry["group"] in groups]


def _labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that tell them apart."""
    parts = [path.resolve().parent.parts if path.name == FILE_NAME else path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-length:]) for part in parts]
        if len(set(labels)) == len(labels):
            break
    return labels


def _names(sources: Sequence[Source]) -> dict[tuple[str, str], str]:
    """The name of each file's model among all: its own, with the file's label where two models have it."""
    versions: dict[str, set[tuple]] = {}
    for source in sources:
        for model in source.document["models"]:
            versions.setdefault(model["id"], set()).add(
                (model["revision"], model["parameters"], model["nonzero_parameters"])
            )
    return {
        (source.label, model["id"]): model["id"]
        if len(versions[model["id"]]) == 1
        else f"{model['id']} ({source.label})"
        for source in sources
        for model in source.document["models"]
    }
