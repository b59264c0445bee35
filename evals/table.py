"""A results document as Markdown: one table a group of metrics, models as rows, every number with its spread."""

from tabulate import tabulate

from evals.results import Result
from evals.statistics import verdict

WORDS = {"nonzero": "non-zero", "ttft": "TTFT", "tpot": "TPOT", "nll": "NLL", "cuda": "CUDA"}
SPEED_VERDICTS = {"higher": "faster", "lower": "slower"}
# Entries of a protocol that results.json keeps and the report spares its reader.
LEFT_OUT = {
    "name", "text_sha256", "text_revision", "tokens_sha256", "load_before", "load_after", "interval_over", "ratio_of",
    "loss_dtype",
}  # fmt: skip


def markdown(document: dict) -> str:
    """The whole report: a table for each group, its protocol under it, then the notes and the environment."""
    results = [Result.from_dict(entry) for entry in document["results"]]
    parts = ["# Evaluation", _models(document["models"])]
    for group in dict.fromkeys(result.group for result in results):
        members = [result for result in results if result.group == group]
        parts += [f"## {_title(group)}", _table(members), _protocols(members)]
    if document["notes"]:
        parts += ["## Notes", "\n".join(f"- {note}" for note in document["notes"])]
    parts.append(_footer(document))
    return "\n\n".join(part for part in parts if part) + "\n"


def cell(result: Result) -> str:
    """One number with its spread; a comparison with its interval and its verdict in words."""
    measurement = result.measurement
    if result.baseline is None:
        return str(measurement)
    words = verdict(measurement.interval, result.neutral)
    if measurement.metric.endswith("_speedup"):
        words = SPEED_VERDICTS.get(words, words)
    return f"{measurement.with_interval()}, {words}"


def _models(models: list[dict]) -> str:
    facts = [[model[key] for key in ("family", "dtype", "revision") if model.get(key)] for model in models]
    lines = [f"- `{model['id']}`: {', '.join(known)}" for model, known in zip(models, facts, strict=True)]
    lines[0] += " (baseline)" if len(models) > 1 else ""
    return "\n".join(lines)


def _table(results: list[Result]) -> str:
    metrics = list(dict.fromkeys(result.measurement.metric for result in results))
    names = list(dict.fromkeys(result.model for result in results))
    cells = {(result.model, result.measurement.metric): cell(result) for result in results}
    rows = [[name, *(cells.get((name, metric), "") for metric in metrics)] for name in names]
    headers = ["model", *(_title(metric, first=False) for metric in metrics)]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def _protocols(results: list[Result]) -> str:
    """The entries in which the rows of a group agree, in one line: another protocol, another number."""
    protocols = [result.measurement.protocol for result in results]
    keys = dict.fromkeys(key for protocol in protocols for key in protocol if key not in LEFT_OUT)
    values = {key: {str(protocol[key]) for protocol in protocols if key in protocol} for key in keys}
    facts = ", ".join(f"{key.replace('_', ' ')} {found.pop()}" for key, found in values.items() if len(found) == 1)
    names = " and ".join(dict.fromkeys(protocol["name"] for protocol in protocols))
    return f"Protocol: {names}{f' ({facts})' if facts else ''}."


def _footer(document: dict) -> str:
    place = document["environment"]
    libraries = ", ".join(f"{name} {version}" for name, version in place["libraries"].items())
    device = place["gpu"] or place["cpu"]
    return (
        "± is half the width of the 95 % interval; in brackets its two ends.\n\n"
        f"Measured {document['created']} on {device}, torch threads {place['threads']}, load {place['load_average']}; "
        f"Python {place['python']}, {libraries}.\n\n`{document['command']}`"
    )


def _title(name: str, first: bool = True) -> str:
    text = " ".join(WORDS.get(word, word) for word in name.split("_"))
    return text[:1].upper() + text[1:] if first else text
