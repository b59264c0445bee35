"""Every solver on real models: the error of each layer on held-out tokens, and the perplexity of the whole model.

    python benchmarks/solvers.py --source DATA [--llama2c CHECKPOINT VOCABULARY] [--patterns 0.5 2:4] [--windows 128]

On the embedded model, calibrated on Wikipedia articles that it was trained on, measured on held-out ones and on
WikiText-2 test; with --llama2c on a llama2.c model instead, calibrated on the first two thirds of the stories of DATA
and measured on the rest.
`DATA` is the folder of `training/README.md`. All contenders have the same calibration windows.

The layer error is ||X(W - V)^T||^2 / ||X W^T||^2 with X the dense model's own inputs on held-out tokens and V the pruned
weight, each layer pruned by itself; its geometric mean over all projections is shown. The perplexity is that of the
model pruned from end to end by `pruning.prune`. Stores benchmarks/results/solvers/MODEL.json.
"""

import argparse
import copy
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import exp, log
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals import statistics
from evals.environment import environment
from evals.text_losses.data import Text
from evals.text_losses.perplexity import Scored, score, summarise
from models import Loaded, load
from models.console.progress import Progress, silent, terminal_bar
from models.errors import RequestError
from models.formats.llama2c import convert
from models.storage.files import write_json
from pruning import PruningConfig, prune
from pruning.anatomy.roles import find_anatomy
from pruning.calibrating.windows import calibration_windows
from pruning.job import Job
from pruning.numerics.mask_rule import MaskRule
from pruning.sharing import take_measures
from pruning.structures.none import relative_error, solve
from training.sources import open_text

OUT = Path(__file__).parent / "results" / "solvers"
CONTENDERS: dict[str, dict] = {  # an N:M pattern takes the place of theirs
    "magnitude": {"method": "magnitude"},
    "wanda": {"method": "wanda"},
    "ria": {"method": "ria"},
    "sparsegpt": {"method": "obs", "solver": "sparsegpt"},
    "wanda + refit": {"method": "wanda", "solver": "refit"},
    "alps": {"method": "wanda", "solver": "alps", "pattern": "unstructured:layer"},
    "exchange by rows": {"method": "wanda", "solver": "exchange"},
    "exchange": {"method": "obs", "solver": "exchange"},
}
UNEVEN: dict[str, dict] = {  # for sparsities only: N:M leaves nothing to share out among layers or rows
    "exchange, error-curves": {"method": "obs", "solver": "exchange", "allocation": "error-curves"},
    "fisher + exchange": {"method": "fisher", "solver": "exchange"},
    "fisher + exchange, global": {"method": "fisher", "solver": "exchange", "pattern": "unstructured:global"},
    "taylor, global": {"method": "taylor", "pattern": "unstructured:global"},
}
REFERENCE = "sparsegpt"
PATTERNS = ("0.5", "2:4", "0.7", "0.6", "4:8")
LONGEST = 600_000  # characters of a text that are read for measuring
STORY = re.compile(r"\s*\n\n(?=Once upon a time|One day,)")
LEAST_ARTICLE = 2000  # characters; shorter ones are lists and stubs


@dataclass(frozen=True)
class Subject:
    """A model, the texts it is calibrated on, and those it is measured on."""

    name: str
    loaded: Loaded
    calibration: list[str]
    measured: list[Text]


def embedded(source: Path) -> Subject:
    """The embedded model."""
    with open_text(source / "wikipedia_en_2015/train.jsonl.xz") as file:
        articles = (json.loads(line)["text"] for line in file)
        calibration = list(islice((text for text in articles if len(text) >= LEAST_ARTICLE), 400))
    with open_text(source / "wikipedia_en_2015/heldout.jsonl.gz") as file:
        wikipedia = "\n\n".join(json.loads(line)["text"] for line in file)
    with open_text(source / "wikitext2/wiki.test.raw.gz") as file:
        wikitext = file.read()
    # Tokenising what is not measured would take longer than measuring.
    measured = [Text("wikipedia_heldout", wikipedia[:LONGEST]), Text("wikitext2_test_raw", wikitext[:LONGEST])]
    return Subject("embedded", load("embedded"), calibration, measured)


def llama2c(source: Path, checkpoint: str, vocabulary: str) -> Subject:
    """A model of llama2.c on stories."""
    with tempfile.TemporaryDirectory() as folder:
        convert(checkpoint, vocabulary, Path(folder) / "model")
        loaded = load(str(Path(folder) / "model"))
    with open_text(source / "tinystories/tinystories_cased_196k.txt.gz") as file:
        stories = STORY.split(file.read())
    cut = len(stories) * 2 // 3
    # The model has only seen stories that begin with its own token for that.
    text = Text("stories", loaded.tokenizer.bos_token.join(stories[cut:]))
    return Subject(Path(checkpoint).stem, loaded, stories[:cut], [text])


def contenders(pattern: str) -> dict[str, dict]:
    """The contenders that can make a pattern."""
    return CONTENDERS if ":" in pattern else CONTENDERS | UNEVEN


def settings(pattern: str, contender: str, windows: int) -> PruningConfig:
    """A sparsity or an N:M pattern with one of the contenders."""
    aim = {"pattern": pattern} if ":" in pattern else {"sparsity": float(pattern)}
    return PruningConfig(samples=windows, **contenders(pattern)[contender] | aim)


def grams(subject: Subject, texts: list[str], config: PruningConfig) -> dict[str, torch.Tensor]:
    """The Gram matrix of every projection's inputs in the dense model, by the projection's name."""
    model, tokenizer, _ = subject.loaded
    windows = partial(calibration_windows, model, tokenizer, config, texts)
    job = Job(model, find_anatomy(model), config, windows, silent)
    return take_measures(job, lambda weight, values: values["gram"].clone(), ("gram",))


def layer_errors(subject: Subject, config: PruningConfig, seen: dict, held_out: dict) -> dict[str, float]:
    """The relative error of every projection on held-out tokens, each pruned by itself."""
    model = subject.loaded.model
    anatomy = find_anatomy(model)
    job = Job(model, anatomy, config, lambda: None, silent)
    errors = {}
    for projection in anatomy.projections:
        gram = seen[projection.name]
        values = {"gram": gram, "column_norms": gram.diagonal().double().sqrt()}
        target = MaskRule(config.parsed_pattern(), config.sparsity, job.method.group)
        weight = projection.weight.float()
        errors[projection.name] = relative_error(
            weight, solve(job, weight, target, values).weight, held_out[projection.name]
        )
    return errors


def scored(loaded: Loaded, texts: list[Text], most: int) -> dict[str, Scored]:
    """The token losses of each text."""
    return {text.id: score(loaded, text, most=most) for text in texts}


def excess(losses: dict[str, Scored], other: dict[str, Scored], dense: dict[str, Scored]) -> Iterator[tuple[str, dict]]:
    """Per text: the loss that a model has over the dense one as a share of what another has, with its interval."""
    for text, now in losses.items():
        base = dense[text].losses.mean(axis=1)
        share = statistics.ratio_of_sums(now.losses.mean(axis=1) - base, other[text].losses.mean(axis=1) - base)
        yield text, {"value": share.value, "interval": share.interval, "n": share.n}


def measure(
    subject: Subject, pattern: str, options: argparse.Namespace, dense: dict[str, Scored], tick: Progress
) -> Iterator[dict]:
    """One row for each contender at one pattern."""
    plain = settings(pattern, "wanda", options.windows)
    seen = grams(subject, subject.calibration, plain)
    held_out = grams(subject, [subject.measured[0].content], plain)
    names = contenders(pattern)
    errors, losses = {}, {}
    for number, name in enumerate(names):
        tick(number / len(names), f"{subject.name} {pattern} {name}")
        config = settings(pattern, name, options.windows)
        if name in CONTENDERS:  # where the loss shares out the zeros, the error of a layer says nothing
            errors[name] = layer_errors(subject, config, seen, held_out)
        twin = subject.loaded._replace(model=copy.deepcopy(subject.loaded.model))
        prune(twin.model, twin.tokenizer, config, subject.calibration, undoable=False)
        losses[name] = scored(twin, subject.measured, options.most)
    for name in names:
        yield {
            "model": subject.name,
            "pattern": pattern,
            "contender": name,
            **(layer_figures(errors[name], errors[REFERENCE]) if name in errors else {}),
            "perplexity": {text: _spread(summarise(now)[0]) for text, now in losses[name].items()},
            "excess_over_wanda": dict(excess(losses[name], losses["wanda"], dense)),
            "excess_over_sparsegpt": dict(excess(losses[name], losses[REFERENCE], dense)),
        }


def layer_figures(errors: dict[str, float], reference: dict[str, float]) -> dict:
    """The geometric mean of the layer errors, of their ratios to the reference's, and the largest ratio."""
    ratios = np.array([log(errors[name] / reference[name]) for name in errors])
    return {
        "layer_error": exp(np.mean([log(value) for value in errors.values()])),
        "layer_error_ratio": _as_dict(statistics.mean(ratios), exp),
        "worst_layer_ratio": exp(ratios.max()),
    }


def _as_dict(estimate: statistics.Estimate, scale) -> dict:
    return {
        "value": scale(estimate.value),
        "interval": [scale(end) for end in estimate.interval or ()],
        "n": estimate.n,
    }


def _spread(measurement) -> dict:
    return {"value": measurement.value, "interval": measurement.interval, "n": measurement.n}


def line(row: dict) -> str:
    """A row as a line of text."""
    layers = f"layer error {row['layer_error_ratio']['value']:.2f} of SparseGPT's" if "layer_error" in row else ""
    texts = "  ".join(f"{text} {entry['value']:.2f}" for text, entry in row["perplexity"].items())
    shares = " ".join(f"{entry['value']:.2f}" for entry in row["excess_over_wanda"].values())
    head = f"{row['model']} {row['pattern']:>4} {row['contender']:26} {layers:32}"
    return f"{head}  {texts}  excess over Wanda's {shares}"


def main() -> None:
    """Measures, prints a line a row, and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the data folder of training/README.md")
    parser.add_argument("--llama2c", nargs=2, metavar=("CHECKPOINT", "VOCABULARY"))
    parser.add_argument(
        "--patterns", nargs="+", default=list(PATTERNS), metavar="P", help="sparsities and N:M patterns"
    )
    parser.add_argument("--windows", type=int, default=128, help="calibration windows")
    parser.add_argument("--most", type=int, default=300, help="windows that are measured, of each text")
    options = parser.parse_args()
    subject = llama2c(options.source, *options.llama2c) if options.llama2c else embedded(options.source)
    dense, bar = scored(subject.loaded, subject.measured, options.most), terminal_bar()
    document = {
        "schema_version": 1,
        "command": f"python benchmarks/solvers.py --source DATA{' --llama2c CHECKPOINT VOCABULARY' * bool(options.llama2c)}"
        f" --patterns {' '.join(options.patterns)} --windows {options.windows} --most {options.most}",
        "environment": environment(),
        "protocol": {
            "windows": options.windows,
            "measured_windows": options.most,
            "dtype": str(subject.loaded.model.dtype),
        },
        "dense": {text: _spread(summarise(now)[0]) for text, now in dense.items()},
        "results": [],
    }
    for pattern in options.patterns:
        try:
            for row in measure(subject, pattern, options, dense, bar):
                document["results"].append(row)
                print(line(row), flush=True)
        except RequestError as error:
            print(f"{pattern} is left out: {error}", flush=True)
        write_json(OUT / f"{subject.name}.json", document)


if __name__ == "__main__":
    main()
