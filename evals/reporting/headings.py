"""What a result is called in a table or on an axis: its task, its metric, and what else tells it from the others."""

import re
from collections import defaultdict
from collections.abc import Sequence

from evals.runs.results import Result

WORDS = {
    "nonzero": "non-zero", "ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "nll": "NLL", "cuda": "CUDA", "kl": "KL",
    "f1": "F1", "mcc": "MCC", "ece": "ECE", "bleu": "BLEU", "chrf": "chrF", "rouge": "ROUGE", "pmi": "PMI",
    "sha256": "SHA-256", "bos": "BOS", "qa": "QA", "kv": "KV",
    "uss": "USS", "pss": "PSS", "vram": "VRAM", "csr": "CSR",
}  # fmt: skip
PART = re.compile(r"(.*?)\[(.*)\](.*)", re.DOTALL)
# Entries of a protocol that results.json keeps and the report spares its reader.
LEFT_OUT = {
    "name", "task", "digest", "text_sha256", "text_revision", "data_sha256", "tokens_sha256", "load_before",
    "load_after", "interval_over", "ratio_of", "loss_dtype", "confusion", "labels", "definition", "task_sha256",
    "contexts_cut", "foreign_cpu_share", "rounds_disturbed", "rounds_measured_again", "details",
}  # fmt: skip


def title(name: str, first: bool = True) -> str:
    """`peak_resident` as `Peak resident`, or without the capital; `ttft[batch=8]` as `TTFT (batch 8)`."""
    figure, part = split(name)
    text = " ".join(WORDS.get(word, word) for word in figure.split("_"))
    if part:
        text += f" ({part.replace('=', ' ').replace(',', ', ')})"
    return text[:1].upper() + text[1:] if first else text


def split(metric: str) -> tuple[str, str]:
    """A metric and the part it is of: `f1[positive]_difference` as `f1_difference` and `positive`."""
    found = PART.fullmatch(metric)
    return (found[1] + found[3], found[2]) if found else (metric, "")


def headings(results: Sequence[Result]) -> list[str]:
    """A heading for each result, the same for two results only if they are one figure of two models.

    The metric, after its task where there is one; where a model has the metric several times (perplexity under two
    protocols, a speed at two lengths), with the entries of the protocol that tell them apart.
    """
    varying = _varying(results)
    return [_heading(result, varying[_figure(result)]) for result in results]


def facts(protocol: dict, keys: Sequence[str]) -> str:
    """`length 512, stride 512`: some entries of a protocol."""
    return ", ".join(f"{title(key, first=False)} {protocol[key]}" for key in keys if key in protocol)


def _heading(result: Result, keys: Sequence[str]) -> str:
    name = title(result.measurement.metric, first=False)
    named = f"{result.task}: {name}" if result.task else name
    protocol = result.measurement.protocol
    apart = [str(protocol["name"])] if "name" in keys else []
    apart += filter(None, [facts(protocol, [key for key in keys if key != "name"])])
    return f"{named} ({', '.join(apart)})" if apart else named


def _figure(result: Result) -> tuple[str | None, str]:
    return result.task, result.measurement.metric


def _varying(results: Sequence[Result]) -> dict[tuple[str | None, str], list[str]]:
    """By figure, the entries of the protocol in which one model's results differ."""
    of_model: dict[tuple, list[dict]] = defaultdict(list)
    for result in results:
        of_model[(*_figure(result), result.model, result.baseline)].append(result.measurement.protocol)
    found: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for (task, metric, *_), protocols in of_model.items():
        keys = dict.fromkeys(key for protocol in protocols for key in protocol if key not in LEFT_OUT - {"name"})
        for key in keys:
            differs = len({str(protocol.get(key)) for protocol in protocols}) > 1
            if differs and key not in found[task, metric]:
                found[task, metric].append(key)
    return found
