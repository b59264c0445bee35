"""A results document as Markdown: for each group of metrics its numbers with their spread, and how they compare."""

from collections.abc import Sequence

from tabulate import tabulate

from evals.reporting.headings import LEFT_OUT, headings, split, title
from evals.runs.results import Result
from evals.statistics import verdict

SPEED_VERDICTS = {"higher": "faster", "lower": "slower"}
DIFFERENCES = ("_difference", "_ratio", "_speedup")
SIGNIFICANT = 0.05
SPREAD = (
    "± is half the width of the 95 % interval; in brackets its two ends. A number without either is a count, or its "
    "samples show no spread: one of them, or several that are all alike."
)
MOST_COLUMNS = 6  # of numbers; a wider table is turned on its side, or is a list


def markdown(document: dict) -> str:
    """The whole report: for each group its tables and its protocol, then the notes and the environment."""
    results = [Result.from_dict(entry) for entry in document["results"]]
    parts = ["# Evaluation", _models(document)]
    for group in dict.fromkeys(result.group for result in results):
        members = [result for result in results if result.group == group]
        parts += [f"## {title(group)}", _values(members), _comparisons(members), _protocols(members)]
    if document["notes"]:
        parts += ["## Notes", "\n".join(f"- {note}" for note in document["notes"])]
    parts.append(_footer(document))
    return "\n\n".join(part for part in parts if part) + "\n"


def cell(result: Result) -> str:
    """One number with its spread; a comparison with its interval and its verdict in words."""
    measurement = result.measurement
    if result.baseline is None:
        return str(measurement)
    return ", ".join(filter(None, [measurement.with_interval(), in_words(result)]))


def in_words(result: Result) -> str:
    """A comparison in words: `higher`, `faster`, or `within noise`; nothing for a figure of the pair, such as flips.

    Where there is a test it must agree with the interval; one that does not survive Holm's correction is said to differ
    alone, and to be within noise among all tasks.
    """
    metric, _ = split(result.measurement.metric)
    if not metric.endswith(DIFFERENCES):
        return ""
    words = verdict(result.measurement.interval, result.neutral, result.measurement.value)
    if words not in SPEED_VERDICTS:
        return words
    if metric.endswith("_speedup"):
        words = SPEED_VERDICTS[words]
    test = result.test
    if test is None or test.p is None:
        return words
    if test.p > SIGNIFICANT:
        return "within noise"
    corrected = test.p if test.p_holm is None else test.p_holm
    return words if corrected <= SIGNIFICANT else f"{words} alone, within noise among all tasks"


def _models(document: dict) -> str:
    models = document["models"]
    baselines = {entry["baseline"] for entry in document["results"]} - {None} or {models[0]["id"]}
    lines = []
    for model in models:
        known = [model[key] for key in ("family", "dtype", "revision") if model.get(key)]
        mark = " (baseline)" if len(models) > 1 and model["id"] in baselines else ""
        lines.append(f"- `{model['id']}`{': ' if known else ''}{', '.join(known)}{mark}")
    return "\n".join(lines)


def _values(results: Sequence[Result]) -> str:
    """Models as rows, or as columns where there are more figures than fit beside each other."""
    results = [result for result in results if result.baseline is None]
    named = headings(results)
    figures, models = list(dict.fromkeys(named)), list(dict.fromkeys(result.model for result in results))
    if not figures:
        return ""
    cells = {(result.model, figure): cell(result) for result, figure in zip(results, named, strict=True)}
    if len(figures) <= MOST_COLUMNS:
        return _table(["model", *figures], [[model, *_along(cells, [model], figures)] for model in models])
    if len(models) <= MOST_COLUMNS:
        return _table(["figure", *models], [[figure, *_along(cells, models, [figure])] for figure in figures])
    rows = [[model, figure, cells[model, figure]] for figure in figures for model in models if (model, figure) in cells]
    return _table(["model", "figure", "value"], rows)


def _comparisons(results: Sequence[Result]) -> str:
    """A table for each baseline: models by figures, or a row a comparison where there are tests to tell of."""
    results = [result for result in results if result.baseline is not None]
    baselines = dict.fromkeys(result.baseline for result in results)
    return "\n\n".join(
        f"Against `{baseline}`:\n\n{_against([result for result in results if result.baseline == baseline])}"
        for baseline in baselines
    )


def _against(results: Sequence[Result]) -> str:
    whole = [result for result in results if result.test is None or not split(result.measurement.metric)[1]]
    left_out = len(results) - len(whole)
    told = f"\n\nIn results.json: {left_out} more differences, by class or group." if left_out else ""
    return _differences(whole) + told


def _differences(results: Sequence[Result]) -> str:
    named = headings(results)
    figures, models = list(dict.fromkeys(named)), list(dict.fromkeys(result.model for result in results))
    tested = any(result.test for result in results)
    if not tested and len(figures) <= MOST_COLUMNS:
        cells = {(result.model, figure): cell(result) for result, figure in zip(results, named, strict=True)}
        return _table(["model", *figures], [[model, *_along(cells, [model], figures)] for model in models])
    rows = []
    for result, figure in zip(results, named, strict=True):
        row = [result.model, figure, result.measurement.with_interval(), in_words(result)]
        rows.append(row + (_test(result) if tested else []))
    headers = ["model", "figure", "difference (95 % interval)", "verdict"]
    headers += ["test", "p", "p (Holm)", "smallest difference it could show"] if tested else []
    return _table(headers, rows)


def _along(cells: dict[tuple[str, str], str], models: Sequence[str], figures: Sequence[str]) -> list[str]:
    return [cells.get((model, figure), "") for model in models for figure in figures]


def _test(result: Result) -> list[str]:
    test = result.test
    if test is None:
        return ["", "", "", ""]
    smallest, unit = test.smallest_difference, result.measurement.unit
    shown = "" if smallest is None else f"{smallest:.2g}{f' {unit}' if unit else ''}"
    return [test.name, p_value(test.p), p_value(test.p_holm), shown]


def p_value(p: float | None) -> str:
    """`0.031`, `<0.001`, or nothing."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    clean = [[text.replace("|", "\\|") for text in row] for row in (headers, *rows)]
    return tabulate(clean[1:], clean[0], tablefmt="pipe", disable_numparse=True)


def _protocols(results: Sequence[Result]) -> str:
    """The entries in which the rows of a group agree, in one line: another protocol, another number."""
    protocols = [result.measurement.protocol for result in results]
    keys = dict.fromkeys(key for protocol in protocols for key in protocol if key not in LEFT_OUT)
    values = {key: {str(protocol[key]) for protocol in protocols if key in protocol} for key in keys}
    agreed = ", ".join(f"{title(key, first=False)} {found.pop()}" for key, found in values.items() if len(found) == 1)
    names = " and ".join(dict.fromkeys(str(protocol["name"]) for protocol in protocols if "name" in protocol))
    return f"Protocol: {names}{f' ({agreed})' if agreed else ''}."


def _footer(document: dict) -> str:
    """Where and with what the numbers were taken: once for all files of one machine and one command."""
    alike: dict[tuple[str, str], list[dict]] = {}
    for source in document.get("sources") or [document]:
        alike.setdefault((_place(source["environment"]), source["command"]), []).append(source)
    lines = [f"{_when(sources)} {place}.\n\n`{command}`" for (place, command), sources in alike.items()]
    return "\n\n".join([SPREAD, *lines])


def _place(environment: dict) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in environment["libraries"].items())
    device = environment["gpu"] or environment["cpu"]
    return f"on {device}, torch threads {environment['threads']}; Python {environment['python']}, {libraries}"


def _when(sources: list[dict]) -> str:
    files = ", ".join(f"`{source['file']}`" for source in sources if "file" in source)
    dates = sorted({source["created"] for source in sources})
    loads = sorted({load for source in sources if (load := source["environment"]["load_average"]) is not None})
    load = f"load {' to '.join(dict.fromkeys(str(end) for end in (loads[0], loads[-1])))}" if loads else "load unknown"
    measured = " to ".join(dict.fromkeys([dates[0], dates[-1]]))
    return f"{f'{files}: m' if files else 'M'}easured {measured} ({load})"
