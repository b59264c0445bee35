"""How often the 95 % interval of a perplexity covers the truth: sources whose truth is known, sampled again and again.

    python benchmarks/interval_coverage.py [--resamples 2000] [--out FILE]

* process: token losses with what makes a real text's losses hang together. Each document has a level of its own, of a
  skewed distribution, document lengths vary, and so do levels within a document; token losses are skewed too. The
  shares of the variance are those of WikiText-2 test under the embedded model: of the variance between windows of 2048
  tokens 60 % are of documents of two windows on average, and 40 % of tokens.
* pair: the losses of a second model on the same windows, whose excess hangs together likewise.
* model: texts of documents that a tiny random transformer samples from itself, scored by itself and by a damaged copy.
  The truth is the mean over as many other texts.

For each, the share of intervals that hold the truth, with its own Wilson interval: of the interval that `evals` reports
(`evals.statistics.block_ratio`), of Student's t over windows, which takes them for independent, and of the percentile
bootstrap of the same blocks. The rows marked `beyond` are texts of too few documents, or of one window, all of whose
pieces share what went before, to know better from the text alone: the share falls there, and is reported to show where.
Stores benchmarks/results/interval_coverage/results.json.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals import statistics
from evals.environment import environment
from evals.judging.text_figures import NLL, PERPLEXITY
from evals.statistics.blocks import block_length
from evals.text_losses.scored import Scored, samples
from evals.text_losses.scoring import token_losses
from models.storage.files import write_json

OUT = Path(__file__).parent / "results" / "interval_coverage" / "results.json"
LENGTH = 64  # scored tokens of a window of the process; only their sum matters
MEAN = 3.0  # nats a token
DOCUMENT_SHARE, SECTION_SHARE = 0.5, 0.1  # of the variance between windows
WINDOW_DEVIATION = 0.2  # nats, between the means of windows
PERCENTILE_RESAMPLES = 1000
TOO_NARROW, TOO_WIDE = 0.93, 0.97


@dataclass(frozen=True)
class Source:
    """A text of the process: so many windows, and how many of them a document has on average."""

    windows: int
    document: float
    beyond: bool = False


SOURCES = (
    Source(1, 0.01), Source(12, 0.1), Source(12, 0.5), Source(30, 0.1), Source(30, 1), Source(60, 0.5), Source(60, 2),
    Source(140, 0.1), Source(140, 1), Source(140, 2), Source(300, 1), Source(300, 4),
    Source(12, 4, beyond=True), Source(140, 12, beyond=True),
)  # fmt: skip
MODEL_WINDOWS, MODEL_TOKENS = (1, 12, 40), 960  # of a text that a model samples
DOCUMENT_TOKENS = (20, 80)  # the shortest and the longest of its documents
DOCUMENTS_AT_ONCE = 1000
MODEL = dict(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=0, eos_token_id=0, initializer_range=0.2,
)  # fmt: skip
SHARPNESS = 1.5  # of the odds; with it, and weights that large, what was said has a say in what comes, and for long


def levels(random: np.random.Generator, tokens: int, mean_length: float) -> np.ndarray:
    """A skewed level of mean 0 and variance 1 for every token [tokens], shared by stretches of varying length."""
    count = int(tokens / mean_length * 2) + 20
    lengths = np.maximum(1, random.lognormal(log(mean_length) - 0.3, 0.77, size=count)).astype(int)
    while lengths.sum() < 2 * tokens:
        lengths = np.concatenate([lengths, lengths])
    values = np.repeat((random.gamma(4, 1, size=len(lengths)) - 4) / 2, lengths)
    start = random.integers(0, len(values) - tokens + 1)  # within a stretch, as one comes upon a text anywhere
    return values[start : start + tokens]


def process(random: np.random.Generator, source: Source, mean: float = MEAN) -> np.ndarray:
    """Token losses [windows, LENGTH] of the process, whose true mean is `mean`."""
    tokens = source.windows * LENGTH
    document = max(1.0, source.document * LENGTH)
    parts = (
        (DOCUMENT_SHARE, levels(random, tokens, document)),
        (SECTION_SHARE, levels(random, tokens, max(1.0, document / 6))),
        ((1 - DOCUMENT_SHARE - SECTION_SHARE) * LENGTH, (random.gamma(1, 1, size=tokens) - 1)),
    )
    total = sum(np.sqrt(share) * values for share, values in parts)
    return (mean + WINDOW_DEVIATION * total).reshape(source.windows, LENGTH)


def scored(losses: np.ndarray) -> Scored:
    """Losses [n, k] as those of one document."""
    return Scored(losses, {"tokens": np.ones_like(losses)}, np.zeros(len(losses), dtype=int), {"name": "gptq"})


def by_blocks(losses: np.ndarray) -> tuple[float, float]:
    """The interval of the mean loss that stands behind that of the perplexity which `evals` reports."""
    low, high = PERPLEXITY.measure(scored(losses)).interval
    return log(low), log(high)


def by_t(losses: np.ndarray) -> tuple[float, float]:
    """Student's t over windows, or the same pieces of them."""
    nats, size, _ = samples(scored(losses), "tokens")
    return statistics.ratio_of_sums(nats, size).interval


def by_percentile(losses: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap of the same blocks."""
    nats, size, _ = samples(scored(losses), "tokens")
    count, length = len(nats), block_length(len(nats))
    starts = np.random.default_rng(0).integers(0, count, size=(PERCENTILE_RESAMPLES, count // length, 1))
    drawn = (starts + np.arange(length)).reshape(PERCENTILE_RESAMPLES, -1) % count
    low, high = np.quantile(nats[drawn].sum(1) / size[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


METHODS = {"blocks, studentised": by_blocks, "t over windows": by_t, "blocks, percentile": by_percentile}


def by_pairs(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The interval of the paired difference that `evals` reports."""
    return NLL.compare(scored(first), scored(second)).interval


def covered(intervals: list[tuple[float, float]], truth: float) -> dict:
    """The share of the intervals that hold the truth, with its interval, and their mean half width."""
    share = statistics.wilson(sum(low <= truth <= high for low, high in intervals), len(intervals))
    half = float(np.mean([(high - low) / 2 for low, high in intervals]))
    return {"coverage": share.value, "interval": share.interval, "resamples": share.n, "half_width": half}


def process_coverage(source: Source, resamples: int, seed: int = 0) -> dict[str, dict]:
    """Coverage by method on texts of the process."""
    random = np.random.default_rng([seed, source.windows, int(100 * source.document)])
    texts = [process(random, source) for _ in range(resamples)]
    return {name: covered([method(text) for text in texts], MEAN) for name, method in METHODS.items()}


def pair_coverage(source: Source, resamples: int, seed: int = 0) -> dict:
    """Coverage of the difference of two models on texts of the process."""
    random = np.random.default_rng([seed, source.windows, int(100 * source.document), 1])
    excess, intervals = 0.05, []
    for _ in range(resamples):
        first = process(random, source)
        intervals.append(by_pairs(first, first + 0.2 * process(random, source, excess / 0.2)))
    return covered(intervals, excess)


def tiny_model(damage: float = 0.0) -> torch.nn.Module:
    """A random transformer of sharpened odds; with `damage` its weights are disturbed by that share of their spread."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**MODEL)).eval()
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.lm_head.weight *= SHARPNESS
        for weight in model.parameters():
            if weight.ndim == 2:
                weight += damage * weight.std() * torch.randn(weight.shape, generator=noise)
    return model


@torch.inference_mode()
def documents(model: torch.nn.Module, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` documents [count, tokens] that the model samples from itself, each after BOS and as long as any."""
    from models.forward.state import open_state

    state = open_state(model, count)
    ids = torch.zeros(count, 1, dtype=torch.long)
    found = [ids]
    for _ in range(DOCUMENT_TOKENS[1] - 1):
        logits = state.read(ids)
        ids = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        found.append(ids)
    return torch.cat(found, dim=1)


def sampled_texts(model: torch.nn.Module, count: int, seed: int) -> torch.Tensor:
    """`count` texts [count, MODEL_TOKENS] of such documents, cut off at varying lengths, each text begun anywhere."""
    generator = torch.Generator().manual_seed(seed)
    tokens = count * (MODEL_TOKENS + DOCUMENT_TOKENS[1])
    pieces, have = [], 0
    while have < tokens:
        lengths = torch.randint(DOCUMENT_TOKENS[0], DOCUMENT_TOKENS[1] + 1, (DOCUMENTS_AT_ONCE,), generator=generator)
        whole = documents(model, DOCUMENTS_AT_ONCE, generator)
        pieces += [document[:length] for document, length in zip(whole, lengths.tolist(), strict=True)]
        have += int(lengths.sum())
    stream = torch.cat(pieces)[:tokens].reshape(count, -1)
    starts = torch.randint(0, DOCUMENT_TOKENS[1], (count,), generator=generator)
    return torch.stack([row[start : start + MODEL_TOKENS] for row, start in zip(stream, starts.tolist(), strict=True)])


def model_coverage(windows: Sequence[int], resamples: int, seed: int = 0) -> Iterator[dict]:
    """Coverage by method on texts that a model samples, cut into windows, and of its difference from a damaged copy."""
    model, damaged = tiny_model(), tiny_model(damage=0.05)
    texts = sampled_texts(model, 2 * resamples, seed)
    for count in windows:
        cut = texts.reshape(-1, MODEL_TOKENS // count)
        losses = (token_losses(each, cut).astype(float) for each in (model, damaged))
        first, second = (each.reshape(2 * resamples, count, -1) for each in losses)
        facts = {"source": "model", "windows": count, "length": cut.shape[1], "beyond": count == 1}
        truth = float(first[resamples:].mean())
        for name, method in METHODS.items():
            yield facts | {"method": name} | covered([method(text) for text in first[:resamples]], truth)
        difference = float((second - first)[resamples:].mean())
        pairs = zip(first[:resamples], second[:resamples], strict=True)
        yield facts | {"method": "paired difference"} | covered([by_pairs(*pair) for pair in pairs], difference)


def rows(resamples: int) -> Iterator[dict]:
    """One row for each source and method."""
    for source in SOURCES:
        facts = {"source": "process", **asdict(source)}
        for name, found in process_coverage(source, resamples).items():
            yield facts | {"method": name} | found
        yield facts | {"method": "paired difference"} | pair_coverage(source, resamples)
    yield from model_coverage(MODEL_WINDOWS, resamples)


def line(row: dict) -> str:
    """A row as a line of text."""
    documents = f"documents of {row['document']} windows" if "document" in row else f"windows of {row['length']} tokens"
    low, high = row["interval"]
    mark = ""
    if row["method"] in ("blocks, studentised", "paired difference"):
        mark = "beyond" if row["beyond"] else "" if TOO_NARROW <= row["coverage"] <= TOO_WIDE else "OUT OF BOUNDS"
    share = f"{row['coverage']:.3f} ({low:.3f} to {high:.3f})"
    return f"{row['source']:8} {row['windows']:4} windows, {documents:25} {row['method']:20} {share}  {mark}"


def main() -> None:
    """Measures, prints a line a row, and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=2000, help="texts of each source")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args()
    results = []
    for row in rows(options.resamples):
        results.append(row)
        print(line(row), flush=True)
    protocol = {
        "resamples": options.resamples, "mean": MEAN, "document_share": DOCUMENT_SHARE, "section_share": SECTION_SHARE,
        "model": MODEL, "sharpness": SHARPNESS,
    }  # fmt: skip
    command = f"python benchmarks/interval_coverage.py --resamples {options.resamples}"
    write_json(
        options.out,
        {
            "schema_version": 1, "command": command, "environment": environment(),
            "protocol": protocol, "results": results,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
