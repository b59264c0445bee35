"""What our modules of Hugging Face evaluate return: figures by name, each beside its 95 % interval.

The modules are the folders of `evaluate_modules`: `evaluate.load("evals/evaluate_modules/espalier_squad")` loads one
from the local folder, with no network.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evals.measurement import Measurement
from evals.statistics import Estimate
from evals.statistics.figures import Figure, estimate


def with_intervals(measurements: Iterable[Measurement]) -> dict[str, Any]:
    """`{"accuracy": 0.8, "accuracy_interval": [0.7, 0.9], ...}`; the interval is None where one sample shows none."""
    found: dict[str, Any] = {}
    for measurement in measurements:
        found[measurement.metric] = measurement.value
        found[f"{measurement.metric}_interval"] = measurement.interval and list(measurement.interval)
    return found


def of_figures(samples: Mapping[Figure, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """Figures of samples [n][k], with their intervals."""
    estimates = {figure: estimate(figure, statistics) for figure, statistics in samples.items()}
    return with_intervals(Measurement(figure.name, each.value, "", each.interval) for figure, each in estimates.items())


def percent(scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The means of scores in 0..1 as percent, with their intervals."""
    estimates = {name: estimate(Figure(name), [[value] for value in values]) for name, values in scores.items()}
    return with_intervals(_hundredfold(name, found) for name, found in estimates.items())


def _hundredfold(name: str, found: Estimate) -> Measurement:
    interval = found.interval and (100 * found.interval[0], 100 * found.interval[1])
    return Measurement(name, 100 * found.value, "%", interval)
