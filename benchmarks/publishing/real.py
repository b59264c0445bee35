"""A real language model, dense and pruned by every method, from the cells of real_model.py that there are."""

import json
from collections.abc import Iterator

from benchmarks.publishing import stored
from benchmarks.publishing.text import spread, table, where
from benchmarks.real import figures
from benchmarks.real.cells import DENSE, PATTERNS, all_cells
from benchmarks.real.packed import PLAIN
from models.console.progress import format_seconds
from models.console.units import format_bytes
from models.errors import RequestError
from models.storage.files import read_json

MODEL, REFERENCE = "smollm2", "wanda"
PUBLISHED = {"piqa": 66.3, "hellaswag": 40.9}  # the card of SmolLM2-135M-Instruct, accuracy by the choice's length
TEXTS = {"wikitext2_test_raw": "WikiText-2", "c4_sample": "C4"}
LAYOUTS = {"dense": "packed, bf16", "auto": "packed, bf16", "int8": "packed, int8"}


def real_model() -> str:
    """Perplexity, tasks and closeness of every pruned model beside the dense one."""
    cells = measured()
    rows = [_quality_row(cell, cells) for cell in _ordered(cells)]
    headers = [
        "zeros", "method", *(f"perplexity, {name}" for name in TEXTS.values()), "loss over dense, nats", "of Wanda's",
        f"accuracy, mean of {len(cells[DENSE]['tasks'])} tasks", "over dense, points", "over Wanda, points",
        "KL from dense, nats", "top-1 as dense", "pruned in",
    ]  # fmt: skip
    return f"{table(headers, rows)}\n\n{_about(cells)}"


def real_short() -> str:
    """What a first look needs of the same cells."""
    cells = measured()
    headers = [
        "zeros", "method", "perplexity, WikiText-2", "loss over dense, of Wanda's", "accuracy, 7 tasks",
        "likeliest token as dense", "pruned in",
    ]  # fmt: skip
    rows = []
    for cell in _ordered(cells):
        perplexity = f"{figures.perplexity(cell, next(iter(TEXTS)))['value']:.1f}"
        mean = _percent(figures.mean_accuracy(cell))
        accuracy = f"{mean['value']:.1f}{_half(mean)} %"
        if cell["cell"] == DENSE:
            rows.append(["", DENSE, perplexity, "", accuracy, "", ""])
            continue
        other = cells.get(f"{REFERENCE}@{cell['pattern']}")
        ratio = spread(figures.excess_ratio(cell, other, cells[DENSE]), ".2f") if other and other is not cell else "1"
        agreement = f"{100 * figures.close(cell, 'agreement')['value']:.0f} %"
        taken = format_seconds(cell["pruning"])
        rows.append([cell["pattern"], cell["contender"], perplexity, ratio, accuracy, agreement, taken])
    return f"{table(headers, rows)}\n\n{where(cells[DENSE])}"


def real_tasks() -> str:
    """The accuracy of every task."""
    cells = measured()
    names = list(cells[DENSE]["tasks"])
    rows = []
    for cell in _ordered(cells):
        shares = (spread(_percent(figures.accuracy(cell, name)), ".1f") for name in names)
        rows.append([cell["pattern"], cell["contender"], *shares])
    return f"{table(['zeros', 'method', *names], rows)}\n\nIn percent. {_about(cells)}"


def real_packed() -> str:
    """Bytes and speed in the packed layouts, beside the dense model in transformers."""
    cells = measured()
    rows = []
    for cell in _ordered(cells):
        if cell["contender"] not in (DENSE, REFERENCE):  # equally many zeros take equally many bytes and as long
            continue
        for layout, found in cell["packed"].items():
            if layout == PLAIN and cell["cell"] != DENSE:
                continue
            rate = spread(figures.speed(cell, layout), ".1f")
            ratio = "1" if layout == PLAIN else spread(figures.times(cell, layout, PLAIN), ".2f")
            name = LAYOUTS.get(layout, layout)
            rows.append([cell["pattern"] or "none", name, format_bytes(found["bytes"]), rate, ratio])
    headers = ["zeros", "layout", "bytes in memory", "tokens/s", "times transformers, dense"]
    return f"{table(headers, rows)}\n\nGreedy, batch 1, each pair in the same turns. {where(cells[DENSE])}"


def real_dense() -> str:
    """The dense model beside what was published of it."""
    found = read_json(stored.RESULTS / "real_model" / MODEL / "published.json")
    rows = []
    for name, published in PUBLISHED.items():
        share = figures.accuracy(found, name)
        value = spread(_percent(share), ".1f")
        rows.append([name, share["n"], f"{value} %", f"{published:.1f} %", f"{100 * share['value'] - published:+.1f}"])
    return f"{table(['task', 'rows', 'here', 'published', 'points apart'], rows)}\n\n{where(found)}"


def measured() -> dict[str, dict]:
    """The stored cells by name: the dense one, and the most that were measured as it was and calibrated alike.

    RequestError if the dense one is not there.
    """
    folder = stored.RESULTS / "real_model" / MODEL
    found = [cell for cell in map(read_json, sorted(folder.glob("*.json"))) if "cell" in cell]
    dense = next((cell for cell in found if cell["cell"] == DENSE), None)
    if dense is None:
        raise RequestError("there is no dense cell: python benchmarks/real_model.py --source DATA --cells dense")
    groups: dict[str, dict[str, dict]] = {}
    for cell in found:
        if cell is not dense and dense["protocol"].items() <= cell["protocol"].items():
            groups.setdefault(json.dumps(cell["protocol"], sort_keys=True), {})[cell["cell"]] = cell
    return {DENSE: dense} | max(groups.values(), key=len, default={})


def _ordered(cells: dict[str, dict]) -> Iterator[dict]:
    """The dense model, then pattern by pattern the methods as their cells are ordered."""
    yield cells[DENSE]
    for pattern in PATTERNS:
        yield from (cells[cell.name] for cell in all_cells() if cell.pattern == pattern and cell.name in cells)


def _quality_row(cell: dict, cells: dict[str, dict]) -> list:
    dense, other = cells[DENSE], cells.get(f"{REFERENCE}@{cell['pattern']}")
    perplexities = [spread(figures.perplexity(cell, text), ".1f") for text in TEXTS]
    mean = f"{spread(_percent(figures.mean_accuracy(cell)), '.1f')} %"
    if cell is dense:
        return ["", DENSE, *perplexities, "", "", mean, "", "", "", "", ""]
    paired = ["", ""]
    if other and other is not cell:
        paired = [
            spread(figures.excess_ratio(cell, other, dense), ".2f"),
            spread(_percent(figures.mean_gain(cell, other)), "+.1f"),
        ]
    elif other:
        paired[0] = "1"
    gain = spread(_percent(figures.mean_gain(cell, dense)), "+.1f")
    agreement = _percent(figures.close(cell, "agreement"))
    closeness = spread(figures.close(cell, "kl"), ".2f"), f"{spread(agreement, '.0f')} %"
    taken = format_seconds(cell["pruning"])
    over = spread(figures.excess(cell, dense), ".2f")
    quality = [*perplexities, over, paired[0], mean, gain, paired[1], *closeness]
    return [cell["pattern"], cell["contender"], *quality, taken]


def _about(cells: dict[str, dict]) -> str:
    """What the figures rest on, and what is still to be measured."""
    dense = cells[DENSE]
    told = next((cell["protocol"] for name, cell in cells.items() if name != DENSE), dense["protocol"])
    text = next(iter(dense["texts"].values()))
    missing = [cell.name for cell in all_cells() if cell.name not in cells]
    about = (
        f"`{told['model']}` in {text['protocol']['dtype']}; {told['windows']} windows of {text['protocol']['length']} "
        f"tokens of each text (protocol gptq), {told['rows']} rows of each task, KL on {told['close']} windows of each "
        "text. "
    )
    if "samples" in told:
        about += (
            f"Pruned with {told['samples']} windows of {told['sequence_length']} tokens of `{told['calibration']}`. "
            "Intervals are of 95 %; those against dense and against Wanda are paired by window and by row."
        )
    lacking = f" Not measured yet: {', '.join(f'`{name}`' for name in missing)}." if missing else ""
    return f"{about}{lacking} {where(dense)}"


def _percent(entry: dict) -> dict:
    ends = entry["interval"] and [100 * end for end in entry["interval"]]
    return entry | {"value": 100 * entry["value"], "interval": ends}


def _half(entry: dict) -> str:
    """Half of an interval's width, as it stands behind the value."""
    return f" ± {(entry['interval'][1] - entry['interval'][0]) / 2:.1f}" if entry["interval"] else ""
