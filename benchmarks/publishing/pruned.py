"""What pruning leaves and what it costs: the methods, the solvers, time and memory, killed runs."""

from pathlib import Path

from benchmarks.publishing import stored
from benchmarks.publishing.text import spread, table, where
from evals.reporting.table import cell
from evals.runs.results import Result, read_results
from models.console.progress import format_seconds
from models.console.units import format_bytes, format_count, format_percent
from models.storage.files import read_json

SHOWN_PATTERNS = ("0.5", "2:4")
EXCESS = ("excess_over_wanda", "excess_over_sparsegpt")


def one_shot() -> str:
    """The one-shot methods on the embedded model."""
    document = read_results(stored.RESULTS / "one_shot")
    results = [Result.from_dict(entry) for entry in document["results"]]
    shown = ("perplexity", "perplexity_ratio", "decode_rate", "decode_speedup")
    cells = {(result.model, result.measurement.metric): cell(result) for result in results}
    rows = []
    for model in document["models"]:
        zeros = 1 - model["nonzero_parameters"] / model["parameters"]
        figures = [cells.get((model["id"], metric), "") for metric in shown]
        sizes = [format_count(model["parameters"]), format_percent(zeros), format_bytes(model["bytes_on_disk"])]
        rows.append([model["id"], *figures, *sizes])
    headers = ["model", "perplexity", "against dense", "decode, tokens/s", "speed-up", "parameters", "zeros", "on disk"]
    return f"{table(headers, rows)}\n\n{where(document)}"


def solvers() -> str:
    """Layer error and perplexity of every solver, a table a model."""
    return "\n\n".join(solvers_on(path) for path in sorted((stored.RESULTS / "solvers").glob("*.json")))


def solvers_on(path: Path) -> str:
    """Layer error and perplexity of every solver on one model."""
    document = read_json(path)
    rows = []
    for row in document["results"]:
        if row["pattern"] not in SHOWN_PATTERNS:
            continue
        ratio = row.get("layer_error_ratio")
        layers = spread(ratio, ".2f") if ratio else "-"
        texts = "; ".join(spread(entry, ".1f") for entry in row["perplexity"].values())
        shares = ("; ".join(spread(entry, ".2f") for entry in row[key].values()) for key in EXCESS)
        rows.append([row["pattern"], row["contender"], layers, texts, *shares])
    headers = [
        "pattern",
        path.stem,
        "layer error / SparseGPT's",
        "perplexity",
        "excess / Wanda's",
        "excess / SparseGPT's",
    ]
    dense = "; ".join(f"{text} {spread(entry, '.1f')}" for text, entry in document["dense"].items())
    return f"{table(headers, rows)}\n\nDense perplexity: {dense}. {where(document)}"


def pruning_cost() -> str:
    """Time and memory of pruning."""
    document = stored.document("pruning_cost")
    results = document["results"]
    rows = [["Wanda, embedded model, over two forward passes", times(results["embedded"]["two forward passes"])]]
    for name, entry in results["embedded"].items():
        rows.append([f"{name}, embedded model", f"{spread({'value': entry['median'], **entry}, '.1f')} s"])
    for shape, contenders in results["sparsegpt"].items():
        for loop, entry in contenders.items():
            if loop != "ours":
                rows.append([f"textbook SparseGPT, {loop}, over ours, {shape}", times(inverse(entry))])
    for method, entry in results["memory"].items():
        parts = {
            "a forward pass": entry["forward"],
            "two blocks": 2 * entry["block"],
            "activations": entry["activations"],
        }
        bound = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items())
        rows.append(
            [f"{method}, two blocks of Llama-3.2-1B: peak above the model ({bound})",
             f"{format_bytes(entry['above_model'])}, {format_seconds(entry['seconds'])}"]
        )  # fmt: skip
    return f"{table(['measure', 'value (95 % interval)'], rows)}\n\n{where(document)}"


def pruning_waits() -> str:
    """What a visitor waits for on a real model, and how fast the slider prunes."""
    document = stored.document("pruning_waits")
    results = dict(document["results"])
    slider, dense = results.pop("slider"), results.pop("dense")
    rows = []
    for name, entry in results.items():
        parts = [f"{part} {seconds:.1f}" for part, seconds in entry["parts"].items() if seconds >= 0.05]
        rows.append(
            [name, f"{entry['seconds']:.1f} s", f"{entry['processor_seconds']:.1f} s", f"{entry['forward_passes']:.1f}",
             f"{entry['perplexity_small_text']:.1f}", ", ".join(parts)]
        )  # fmt: skip
    headers = [
        "method",
        "time",
        "of the processor",
        "in forward passes",
        "perplexity, small text",
        "where the time goes, s",
    ]
    moves = [[name, f"{entry['seconds']:.2f} s"] for name, entry in slider.items() if ", " in name]
    protocol = document["protocol"]
    said = (
        f"{protocol['model']} at {format_percent(protocol['sparsity'], 0)} (dense: "
        f"{dense['perplexity_small_text']:.1f}). A move of the slider, median of five, once the statistics are there "
        f"(taken in {slider['statistics_first']['seconds']:.1f} s, read from disk with their fingerprint in "
        f"{slider['statistics_from_disk']['seconds']:.1f} s, {format_bytes(slider['statistics_bytes'])}):"
    )
    return f"{table(headers, rows)}\n\n{said}\n\n{table(['move to', 'time'], moves)}\n\n{where(document)}"


def resume_kills() -> str:
    """How killed runs ended."""
    document = stored.document("resume_kills")
    results, kills = document["results"], document["results"]["kills"]
    kept = [kill["blocks_finished"] for kill in kills]
    return (
        f"{results['killed']} of {results['runs']} runs were killed (SIGKILL) at random moments before they had ended, "
        f"with {min(kept)} to {max(kept)} blocks finished, and gone on with: {results['equal']} of {results['runs']} "
        f"ended with the same SHA-256 of the weights, nothing left over. {where(document)}"
    )


def times(entry: dict) -> str:
    """How many times as long the first contender took as this one."""
    low, high = entry["first_over_this_interval"]
    return f"{entry['first_over_this']:.2f} times ({low:.2f} to {high:.2f})"


def inverse(entry: dict) -> dict:
    """The same with this contender's time over the first one's."""
    low, high = entry["first_over_this_interval"]
    return {"first_over_this": 1 / entry["first_over_this"], "first_over_this_interval": (1 / high, 1 / low)}
