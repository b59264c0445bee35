"""The embedded model: its shape, how it was made, what it can do, what it writes."""

from benchmarks.publishing import stored
from benchmarks.publishing.text import share, table, where
from evals.measurement import Measurement
from evals.runs.results import Result, read_results
from models.console.progress import format_seconds
from models.console.units import format_bytes, format_count
from models.source import EMBEDDED
from models.storage.files import read_json

WIKIPEDIA, WIKITEXT = "heldout.jsonl.gz", "wiki.test.raw.gz"  # the texts' ids in the results
NAMES = {
    (WIKIPEDIA, "perplexity"): "Perplexity, held-out Wikipedia (300 articles)",
    (WIKIPEDIA, "bits_per_byte"): "Bits per byte, held-out Wikipedia",
    (WIKITEXT, "perplexity"): "Perplexity, WikiText-2 test (raw)",
    (WIKITEXT, "bits_per_byte"): "Bits per byte, WikiText-2 test (raw)",
    ("blimp", "accuracy"): "BLiMP accuracy",
    ("lambada", "accuracy"): "LAMBADA accuracy (last word, greedy)",
    ("lambada", "perplexity"): "LAMBADA perplexity of the last word",
    ("sst2", "accuracy"): "SST-2 accuracy",
    ("sst2", "macro_precision"): "SST-2 precision, mean of the two classes",
    ("sst2", "macro_recall"): "SST-2 recall, mean of the two classes",
    ("sst2", "macro_f1"): "SST-2 F1, mean of the two classes",
    ("uci_kept_back", "accuracy"): "UCI review sentences kept back, accuracy",
    ("reviews_en", "accuracy"): "Reviews written for Espalier, accuracy",
    ("squad_kept_back", "exact_match"): "SQuAD exact match, articles kept back",
    ("squad_kept_back", "f1"): "SQuAD F1, articles kept back",
    ("questions_en", "exact_match"): "Questions written for Espalier, exact match",
    ("questions_en", "f1"): "Questions written for Espalier, F1",
}
NO_SHARES = ("perplexity", "bits_per_byte")
CLASSES = ("negative", "positive")
SCORES = ("precision", "recall", "f1")
WAYS = {"greedy": "Greedily:", "drawn": "Drawn at temperature 0.8, top-p 0.95, seed 0:"}


def embedded_quality() -> str:
    """What the embedded model can do."""
    measured = measurements()
    rows = []
    for key, name in NAMES.items():
        found = measured[key]
        rows.append([name, str(found) if key[1] in NO_SHARES else share(found), found.n])
    headers = ["measure", "value ± half of the 95 % interval", "n"]
    return f"{table(headers, rows)}\n\n{where(stored.document('embedded_quality'))}"


def embedded_classes() -> str:
    """SST-2 by class."""
    measured = measurements()
    rows = [[label, *(share(measured["sst2", f"{score}[{label}]"]) for score in SCORES)] for label in CLASSES]
    return table(["class", "precision", "recall", "F1"], rows)


def embedded_grammar() -> str:
    """BLiMP by linguistic term."""
    terms = {metric: found for (of, metric), found in measurements().items() if of == "blimp" and "[" in metric}
    if not terms:
        raise KeyError("blimp accuracy[TERM]")
    rows = [
        [metric.partition("[")[2].rstrip("]").replace("_", " "), share(found), found.n]
        for metric, found in terms.items()
    ]
    return table(["term", "accuracy", "pairs"], rows)


def measurements() -> dict[tuple[str, str], Measurement]:
    """The stored figures of the embedded model by task, or text of the perplexity, and metric."""
    found = {}
    for result in map(Result.from_dict, read_results(stored.RESULTS / "embedded_quality")["results"]):
        found[result.task or result.measurement.protocol.get("text"), result.measurement.metric] = result.measurement
    return found


def embedded_samples() -> str:
    """What the embedded model writes, greedily and drawn, and what it answers."""
    samples = stored.document("embedded_quality")["samples"]
    parts = []
    for way, name in WAYS.items():
        texts = "\n>\n".join(f"> **{prompt}** {' '.join(text.split())}" for prompt, text in samples[way].items())
        parts.append(f"{name}\n\n{texts}")
    told = [[row["question"], row["answer"], "; ".join(row["references"])] for row in samples["questions"]]
    rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in told]
    answers = table(["question", "answer", "references"], rows)
    return "\n\n".join(
        [*parts, "The first question of each SQuAD article kept back, its context in the prompt:", answers]
    )


def _workers(run: dict) -> str:
    """How many processes of how many threads trained."""
    return f"{run.get('processes', 1)} x {run['threads']}"


def embedded_making() -> str:
    """How the embedded model was trained."""
    record = read_json(EMBEDDED / "training.json")
    rows = []
    for stage, run in record.items():
        options, losses = run["options"], [loss for _, loss in run["losses"]]
        rows.append(
            [stage, format_count(run["tokens"]), run["steps"], format_seconds(run["seconds"]), _workers(run),
             options.get("optimizer", "muon"), options["learning_rate"], f"{losses[0]:.2f} to {losses[-1]:.2f}"]
        )  # fmt: skip
    headers = [
        "stage",
        "tokens",
        "steps",
        "time",
        "processes x threads",
        "optimizer",
        "peak learning rate",
        "loss, nats",
    ]
    return table(headers, rows)


def embedded_shape() -> str:
    """The embedded model's shape."""
    model = read_results(stored.RESULTS / "embedded_quality")["models"][0]
    config = read_json(EMBEDDED / "config.json")
    return (
        f"{format_count(model['parameters'])} parameters, {format_bytes(model['bytes_on_disk'])} on disk in bfloat16; "
        f"{model['layers']} layers, hidden size {model['hidden']}, feed-forward size {config['intermediate_size']}, "
        f"{model['heads']} heads with {model['kv_heads']} key-value heads, context {model['context']}, vocabulary "
        f"{model['vocabulary']} (byte-level BPE), embeddings tied."
    )
