"""How cost grows."""

from collections import defaultdict
from collections.abc import Sequence
from math import exp, log
from typing import TYPE_CHECKING

from evals.measurement import Measurement
from evals.reporting.canvas import canvas, legend, logarithmic, look, points, shorten, two_lines
from evals.reporting.headings import facts
from evals.reporting.plotting import Undrawable, plot
from evals.runs.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOLD = ("batch", "prompt_tokens", "new_tokens", "device", "dtype")
SCALES = {"seconds": (1000, "milliseconds"), "bytes": (1 / (1 << 20), "MiB")}


@plot()
def growth(document: dict) -> "Figure":
    """Cost against size, both axes logarithmic, with the fitted exponent: twice the size costs 2 to that power."""
    panels: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in (Result.from_dict(entry) for entry in document["results"] if entry["baseline"] is None):
        if _swept(result):
            panels[result.measurement.metric, result.measurement.protocol["y"]].append(result)
    if not panels:
        raise Undrawable("no growth of cost was measured")
    figure, axes = canvas(len(panels))
    for panel, members in zip(axes, panels.values(), strict=True):
        _draw(panel, members)
        legend(panel)
    return figure


def _swept(result: Result) -> list[dict]:
    """The points that an exponent was fitted to; each has `x`, `y` and `interval`."""
    return (result.measurement.protocol.get("details") or {}).get("points") or []


def _draw(axes: "Axes", members: Sequence[Result]) -> None:
    protocol = members[0].measurement.protocol
    unit = protocol["y"].split(" ", 1)[0]
    factor, shown = SCALES.get(unit, (1, unit))
    for at, result in enumerate(members):
        swept = _swept(result)
        sizes, costs = [point["x"] for point in swept], [_cost(point, factor) for point in swept]
        fitted = result.measurement
        told = f"exponent {_plain(fitted.value)}"
        if fitted.interval:
            told += f" ({_plain(fitted.interval[0])} to {_plain(fitted.interval[1])})"
        points(axes, sizes, costs, label=f"{shorten(result.model)}\n{told}", linestyle="none", **look(at))
        middle = exp(sum(log(cost.value) for cost in costs) / len(costs))
        centre = exp(sum(map(log, sizes)) / len(sizes))
        axes.plot(
            sizes, [middle * (size / centre) ** fitted.value for size in sizes], color=look(at)["color"], linewidth=1
        )
    axes.set_ylabel(protocol["y"].replace(unit, shown, 1))
    axes.set_xlabel(two_lines(protocol["x"], facts(protocol, TOLD)))
    logarithmic(axes, "x")
    logarithmic(axes, "y")


def _plain(number: float) -> str:
    """Two decimals, and no minus before a zero."""
    return f"{round(number, 2) + 0.0:.2f}"


def _cost(point: dict, factor: float) -> Measurement:
    ends = point["interval"] and (factor * point["interval"][0], factor * point["interval"][1])
    return Measurement("cost", factor * point["y"], "", ends)
