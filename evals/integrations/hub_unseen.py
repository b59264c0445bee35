"""How far a metric of evaluate may lie from its value though every resample of the answers gives the same.

The metric is a closed box, so it is computed anew with as many answers made right, or wrong, as may be of another kind
than those seen (`evals.statistics.unseen`).
"""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from evals import statistics

Pairs = tuple[list, list]  # predictions and references
Compute = Callable[[list, list], Mapping[str, float]]


def reaches(compute: Compute, pairs: Pairs) -> dict[str, tuple[float, float]]:
    """The lowest and the highest value of each figure; of those that the metric can still compute."""
    predictions, references = pairs
    count = len(predictions)
    many = ceil(statistics.unseen_share(count) * count)
    changed = {at * count // many for at in range(many)}
    found = [compute(predictions, references)]
    for make in (_right, _wrong):
        others = [
            make(given, wanted, references) if at in changed else given
            for at, (given, wanted) in enumerate(zip(predictions, references, strict=True))
        ]
        try:
            found.append(compute(others, references))
        except Exception:  # every metric complains in its own way about what it does not take
            continue
    names = set.intersection(*(set(each) for each in found))
    return {name: (min(each[name] for each in found), max(each[name] for each in found)) for name in names}


def _right(given: Any, wanted: Any, references: list) -> Any:
    if isinstance(given, dict):
        return given | {"prediction_text": next(iter(wanted["answers"]["text"]), "")}
    return wanted if isinstance(wanted, int | str) else wanted[0]


def _wrong(given: Any, wanted: Any, references: list) -> Any:
    if isinstance(given, dict):
        return given | {"prediction_text": "" if any(wanted["answers"]["text"]) else "?"}
    if isinstance(wanted, int):
        return (wanted + 1) % max(2, 1 + max(references))
    return ""
