"""Fills the tables of README.md and of the model card from stored results, so that no figure is typed by hand.

    python benchmarks/publish.py [--check]

A block between `<!-- begin: NAME -->` and `<!-- end: NAME -->` is replaced by what the function NAME of BLOCKS makes
of the results. With --check nothing is written and the exit code says whether a file would change.
"""

import argparse
import re
import sys
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals.measurement import Measurement
from evals.results import Result, read_results
from evals.table import cell
from models.files import read_json, write_text
from models.progress import format_seconds
from models.units import format_bytes, format_count, format_percent
from pruning.registry import entries

RESULTS = Path(__file__).parent / "results"
EMBEDDED = ROOT / "models" / "embedded"
PAGES = (ROOT / "README.md", EMBEDDED / "README.md")
BLOCK = re.compile(r"(<!-- begin: ([\w-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)
SHOWN_PATTERNS = ("0.5", "2:4")
EXCESS = ("excess_over_wanda", "excess_over_sparsegpt")
NAMES = {
    "wikipedia_heldout perplexity": "Perplexity, held-out Wikipedia (300 articles)",
    "wikipedia_heldout bits_per_byte": "Bits per byte, held-out Wikipedia",
    "wikitext2_test_raw perplexity": "Perplexity, WikiText-2 test (raw)",
    "wikitext2_test_raw bits_per_byte": "Bits per byte, WikiText-2 test (raw)",
    "sst2_test accuracy": "SST-2 test accuracy",
    "uci_heldout accuracy": "UCI review sentences kept back, accuracy",
    "squad_heldout exact_match": "SQuAD exact match, articles kept back",
    "squad_heldout f1": "SQuAD F1, articles kept back",
}


def embedded_quality() -> str:
    """What the embedded model can do."""
    document = read_results(RESULTS / "embedded_quality")
    rows = []
    for entry in document["results"]:
        measured = Result.from_dict(entry).measurement
        rows.append([NAMES[measured.metric], share(measured) if measured.metric in SHARES else str(measured), measured.n])
    return f"{table(['measure', 'value ± half of the 95 % interval', 'n'], rows)}\n\n{where(document)}"


SHARES = {name for name in NAMES if name.endswith(("accuracy", "exact_match", "f1"))}


def share(measured: Measurement) -> str:
    """A share of 0..1 as percent with its spread."""
    half = (measured.interval[1] - measured.interval[0]) / 2
    return f"{100 * measured.value:.1f} ± {100 * half:.1f} %"


def embedded_samples() -> str:
    """What the embedded model writes, greedily."""
    samples = read_results(RESULTS / "embedded_quality")["samples"]
    return "\n>\n".join(f"> **{prompt}** {' '.join(text.split())}" for prompt, text in samples.items())


def embedded_making() -> str:
    """How the embedded model was trained."""
    record = read_json(EMBEDDED / "training.json")
    rows = []
    for stage, run in record.items():
        options = run["options"]
        rows.append(
            [stage, format_count(run["tokens"]), run["steps"], format_seconds(run["seconds"]), run["threads"],
             options.get("optimizer", "muon"), options["learning_rate"], f"{run['losses'][0][1]:.2f} to {run['losses'][-1][1]:.2f}"]
        )  # fmt: skip
    headers = ["stage", "tokens", "steps", "time", "threads", "optimizer", "peak learning rate", "loss, nats"]
    return table(headers, rows)


def embedded_shape() -> str:
    """The embedded model's shape."""
    model = read_results(RESULTS / "embedded_quality")["models"][0]
    config = read_json(EMBEDDED / "config.json")
    return (
        f"{format_count(model['parameters'])} parameters, {format_bytes(model['bytes_on_disk'])} on disk in bfloat16; "
        f"{model['layers']} layers, hidden size {model['hidden']}, feed-forward size {config['intermediate_size']}, "
        f"{model['heads']} heads with {model['kv_heads']} key-value heads, context {model['context']}, vocabulary "
        f"{model['vocabulary']} (byte-level BPE), embeddings tied."
    )


def one_shot() -> str:
    """The one-shot methods on the embedded model."""
    document = read_results(RESULTS / "one_shot")
    results = [Result.from_dict(entry) for entry in document["results"]]
    shown = ("perplexity", "perplexity_ratio", "decode_rate", "decode_speedup")
    cells = {(result.model, result.measurement.metric): cell(result) for result in results}
    rows = []
    for model in document["models"]:
        zeros = 1 - model["nonzero_parameters"] / model["parameters"]
        rows.append(
            [model["id"], *(cells.get((model["id"], metric), "") for metric in shown), format_count(model["parameters"]),
             format_percent(zeros), format_bytes(model["bytes_on_disk"])]
        )  # fmt: skip
    headers = ["model", "perplexity", "against dense", "decode, tokens/s", "speed-up", "parameters", "zeros", "on disk"]
    return f"{table(headers, rows)}\n\n{where(document)}"


def methods() -> str:
    """Everything that can be chosen, as `python -m pruning methods` lists it."""
    shown = ("method", "solver", "allocation", "schedule", "pattern", "structure")
    rows = [[entry.kind, f"`{entry.name}`", entry.summary] for kind in shown for entry in entries(kind)]
    return table(["kind", "name", "what it does"], [[kind, name, text.replace("|", "\\|")] for kind, name, text in rows])


def solvers() -> str:
    """Layer error and perplexity of every solver, a table a model."""
    return "\n\n".join(solvers_on(path) for path in sorted((RESULTS / "solvers").glob("*.json")))


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
    headers = ["pattern", path.stem, "layer error / SparseGPT's", "perplexity", "excess / Wanda's", "excess / SparseGPT's"]
    dense = "; ".join(f"{text} {spread(entry, '.1f')}" for text, entry in document["dense"].items())
    return f"{table(headers, rows)}\n\nDense perplexity: {dense}. {where(document)}"


def pruning_cost() -> str:
    """Time and memory of pruning."""
    document = read_json(RESULTS / "pruning_cost" / "results.json")
    results = document["results"]
    rows = [["Wanda, embedded model, over two forward passes", times(results["embedded"]["two forward passes"])]]
    for name, entry in results["embedded"].items():
        rows.append([f"{name}, embedded model", f"{spread({'value': entry['median'], **entry}, '.1f')} s"])
    for shape, contenders in results["sparsegpt"].items():
        for loop, entry in contenders.items():
            if loop != "ours":
                rows.append([f"textbook SparseGPT, {loop}, over ours, {shape}", times(inverse(entry))])
    for method, entry in results["memory"].items():
        parts = {"a forward pass": entry["forward"], "two blocks": 2 * entry["block"], "activations": entry["activations"]}
        bound = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items())
        rows.append(
            [f"{method}, two blocks of Llama-3.2-1B: peak above the model ({bound})",
             f"{format_bytes(entry['above_model'])}, {format_seconds(entry['seconds'])}"]
        )  # fmt: skip
    return f"{table(['measure', 'value (95 % interval)'], rows)}\n\n{where(document)}"


def resume_kills() -> str:
    """How killed runs ended."""
    document = read_json(RESULTS / "resume_kills" / "results.json")
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


def spread(entry: dict, form: str) -> str:
    """A value with the ends of its interval."""
    if not entry["interval"]:
        return f"{entry['value']:{form}}"
    low, high = entry["interval"]
    return f"{entry['value']:{form}} ({low:{form}} to {high:{form}})"


def startup() -> str:
    """Time until the page answers."""
    document = read_json(RESULTS / "startup" / "results.json")
    names = {"served": "`python app.py` to the first answered request", "imports_only": "importing the libraries alone"}
    rows = []
    for key, name in names.items():
        runs = document["results"][key]["runs"]
        rows.append([name, f"{document['results'][key]['median']:.1f} s", f"{min(runs):.1f} to {max(runs):.1f} s"])
    return f"{table(['', f'median of {len(runs)}', 'range'], rows)}\n\n{where(document)}"


def streaming() -> str:
    """What the page's streaming costs."""
    document = read_json(RESULTS / "streaming" / "results.json")
    results, protocol = document["results"], document["protocol"]
    names = {"generate": "`model.generate`, no page", "loop": "our step-by-step loop, no page", "page": "the page"}
    rows = []
    for key, name in names.items():
        median, (low, high) = results[key]["median"], results[key]["interval"]
        rows.append([name, f"{median:.2f} s", f"{low:.2f} to {high:.2f} s", f"{protocol['new_tokens'] / median:.0f}"])
    costs = []
    for baseline in ("generate", "loop"):
        ratio = results[f"page_over_{baseline}"]
        low, high = (100 * (end - 1) for end in ratio["interval"])
        costs.append(f"{100 * (ratio['median'] - 1):+.1f} % ({low:+.1f} to {high:+.1f} %) against {names[baseline]}")
    headers = [f"{protocol['new_tokens']} tokens, greedy", f"median of {protocol['repeats']}", "95 % interval", "tokens/s"]
    return f"{table(headers, rows)}\n\nThe page's streaming costs {' and '.join(costs)}. {where(document)}"


BLOCKS = {
    function.__name__.replace("_", "-"): function
    for function in (
        embedded_quality, embedded_samples, embedded_making, embedded_shape, methods, one_shot, pruning_cost, resume_kills,
        solvers, startup, streaming,
    )
}  # fmt: skip


def table(headers: list[str], rows: list[list]) -> str:
    """A Markdown table."""
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def where(document: dict) -> str:
    """On what it was measured, and how to measure it again."""
    place = document["environment"]
    libraries = place["libraries"]
    return (
        f"{place['gpu'] or place['cpu']}, {place['threads']} threads, torch {libraries['torch']}, transformers "
        f"{libraries['transformers']}; made by `{document['command']}`."
    )


def filled(text: str) -> str:
    """The text with every block made anew."""
    return BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]()}\n{match[3]}", text)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file would change")
    check = parser.parse_args().check
    stale = [page for page in PAGES if filled(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]
    for page in stale:
        print(f"{page.relative_to(ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            write_text(page, filled(page.read_text(encoding="utf-8")))
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
