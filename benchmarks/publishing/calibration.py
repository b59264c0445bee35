"""What the calibration text does to a pruned model."""

from collections import defaultdict
from math import exp

import numpy as np

from benchmarks.publishing import stored
from benchmarks.publishing.text import table, where
from evals import statistics
from models.errors import RequestError

REFERENCE = "embedded"  # the mix that ships
CALIBRATIONS = (REFERENCE, "embedded:prose", "C4")


def calibration_mix() -> str:
    """The perplexity on every text, and how far the loss is from that of the model calibrated on the mix.

    RequestError if a run was cut off before any method had every calibration.
    """
    document = stored.document("calibration_mix")
    losses = {name: _as_arrays(cell["losses"]) for name, cell in document["cells"].items()}
    by_calibration, seeds = defaultdict(list), set()
    for name in losses:
        if name != "dense":
            method, calibration, seed = name.split(", ")
            by_calibration[method, calibration].append(losses[name])
            seeds.add(seed)
    methods = {method for method, _ in by_calibration}
    if not any(all((method, name) in by_calibration for name in CALIBRATIONS) for method in methods):
        raise RequestError("calibration_mix is unfinished: run benchmarks/calibration_mix.py again, it goes on.")
    texts = list(losses["dense"])
    rows = [["dense", "", *(f"{exp(_loss([losses['dense'][text]])):.2f}" for text in texts)]]
    for (method, calibration), found in by_calibration.items():
        mix = by_calibration.get((method, REFERENCE), [])
        figures = []
        for text in texts:
            figure = f"{exp(_loss([each[text] for each in found])):.1f}"
            if calibration != REFERENCE and len(mix) == len(found):
                figure += f" ({_apart([each[text] for each in found], [each[text] for each in mix])})"
            figures.append(figure)
        rows.append([method, calibration, *figures])
    settings = document["settings"]
    return (
        f"{table(['method', 'calibration', *texts], rows)}\n\n"
        f"{settings['model']}, half of the weights zero, {settings['windows']} windows of {settings['length']} tokens, "
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)}. {where(document)}"
    )


def _as_arrays(cell: dict) -> dict[str, np.ndarray]:
    return {text: np.array(pieces, dtype=float) for text, pieces in cell.items()}


def _loss(found: list[np.ndarray]) -> float:
    """Mean loss of a token, in nats, over cells [pieces, (loss, tokens)]."""
    summed = np.mean(found, axis=0).sum(axis=0)
    return summed[0] / summed[1]


def _apart(found: list[np.ndarray], mix: list[np.ndarray]) -> str:
    """How much the loss of a token is above that with the mix, with its paired interval over the pieces."""
    difference = np.mean(found, axis=0) - np.mean(mix, axis=0)
    estimate = statistics.ratio_of_sums(difference[:, 0], found[0][:, 1])
    low, high = estimate.interval
    return f"{estimate.value:+.3f}, {low:+.3f} to {high:+.3f}"
