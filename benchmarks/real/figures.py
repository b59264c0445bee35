"""The figures of stored cells, each with its interval, and paired with another cell's."""

from collections.abc import Callable
from math import sqrt

import numpy as np

from benchmarks.real.quality import as_scored
from evals import statistics
from evals.judging.text_figures import PERPLEXITY
from evals.statistics import Estimate

NORMED, PLAIN = "accuracy_norm", "accuracy"


def perplexity(cell: dict, text: str) -> dict:
    """The perplexity of a text."""
    return _entry(PERPLEXITY.measure(as_scored(cell["texts"][text])))


def excess(cell: dict, dense: dict) -> dict:
    """The loss over the dense model's, in nats a token, paired over the windows of all texts."""
    return _entry(statistics.paired_difference(_losses(dense), _losses(cell)))


def excess_ratio(cell: dict, other: dict, dense: dict) -> dict:
    """The loss over the dense model's as a share of another cell's, over the windows of all texts."""
    base, over, under = (_losses(each) for each in (dense, cell, other))
    return _entry(statistics.ratio_of_sums(over - base, under - base))


def accuracy(cell: dict, name: str) -> dict:
    """The accuracy of a task: by the choice's length where it has one, else plain."""
    found = hits(cell, name)
    return _entry(statistics.wilson(int(found.sum()), len(found)))


def mean_accuracy(cell: dict) -> dict:
    """The mean of the tasks' accuracies."""
    return _mean_of_tasks(cell, lambda name: statistics.mean(hits(cell, name)))


def mean_gain(cell: dict, other: dict) -> dict:
    """The mean over tasks of the accuracy over another cell's, paired by row. KeyError if they share no rows."""
    return _mean_of_tasks(cell, lambda name: gain(cell, other, name))


def gain(cell: dict, other: dict, name: str) -> Estimate:
    """A task's accuracy less another cell's, paired by row. KeyError if they were asked other rows."""
    if cell["tasks"][name]["asked"] != other["tasks"][name]["asked"]:
        raise KeyError(f"{name}: the same rows in {cell['cell']} and {other['cell']}")
    return statistics.paired_difference(hits(other, name), hits(cell, name))


def hits(cell: dict, name: str) -> np.ndarray:
    """1.0 for every row that was answered rightly, else 0.0."""
    kinds = cell["tasks"][name]["hits"]
    return np.array([float(hit) for hit in kinds.get(NORMED) or kinds[PLAIN]])


def close(cell: dict, figure: str) -> dict:
    """`kl` or `agreement` with the dense model, over windows."""
    return _entry(statistics.mean(np.array(cell["closeness"][figure])))


def speed(cell: dict, layout: str) -> dict:
    """Tokens a second in a layout."""
    return _entry(statistics.median(np.array(cell["packed"][layout]["rates"])))


def times(cell: dict, layout: str, plain: str) -> dict:
    """How many times as fast as another layout in the same turns."""
    rates = [np.array(cell["packed"][name]["rates"]) for name in (layout, plain)]
    return _entry(statistics.ratio_of_medians(*rates))


def _losses(cell: dict) -> np.ndarray:
    """The mean loss of every window of every text."""
    texts = cell["texts"].values()
    return np.concatenate([np.array(text["nats"]) / np.array(text["sizes"]["tokens"]) for text in texts])


def _mean_of_tasks(cell: dict, of_task: Callable[[str], Estimate]) -> dict:
    found = [of_task(name) for name in cell["tasks"]]
    error = sqrt(sum((each.stderr or 0.0) ** 2 for each in found)) / len(found)
    count = sum(each.n for each in found)
    return _entry(statistics.around(float(np.mean([each.value for each in found])), error, count))


def _entry(found) -> dict:
    return {"value": found.value, "interval": found.interval, "n": found.n}
