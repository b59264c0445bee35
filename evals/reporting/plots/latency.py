"""How latency is distributed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evals.reporting.canvas import LINES, canvas, legend, logarithmic, look, shorten, two_lines
from evals.reporting.headings import facts, title
from evals.reporting.plotting import Undrawable, plot
from evals.runs.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What the details of a result tell of a kind: single latencies, or those at 0, 1, ... 100 percent, in seconds.
KINDS = {"ttft": "ttft_seconds", "tpot": "tpot_seconds", "itl": "itl_seconds_by_percent"}
TOLD = ("batch", "prompt_tokens", "new_tokens", "device", "dtype")
LONG_TAIL = 5.0  # times from the shortest to the longest latency from which on the axis is logarithmic


@plot()
def latency(document: dict) -> "Figure":
    """The distribution of latency: the share of requests, or of tokens for ITL, that took so long at most."""
    results = [Result.from_dict(entry) for entry in document["results"] if entry["metric"] == "ttft"]
    measured = [result for result in results if result.baseline is None and _details(result)]
    if not measured:
        raise Undrawable("no single latencies were stored")
    protocol = measured[0].measurement.protocol
    alike = [result for result in measured if facts(result.measurement.protocol, TOLD) == facts(protocol, TOLD)]
    figure, axes = canvas(len(KINDS))
    for panel, (kind, told) in zip(axes, KINDS.items(), strict=True):
        _draw(panel, {result.model: _details(result)[told] for result in alike})
        panel.set(xlabel=two_lines(f"{title(kind)} (ms)", facts(protocol, TOLD)), ylabel="share at most so long (%)")
    legend(axes[1])
    return figure


def _details(result: Result) -> dict:
    details = result.measurement.protocol.get("details") or {}
    return details if all(told in details for told in KINDS.values()) else {}


def _draw(axes: "Axes", by_model: dict[str, Sequence[float]]) -> None:
    for at, (model, values) in enumerate(by_model.items()):
        ordered = sorted(1000 * value for value in values)
        shares = [100 * (rank + 1) / len(ordered) for rank in range(len(ordered))]
        style = {"color": look(at)["color"], "linestyle": LINES[at % len(LINES)]}
        axes.step([ordered[0], *ordered], [0, *shares], where="post", label=shorten(model), **style)
    every = [value for values in by_model.values() for value in values]
    if max(every) > LONG_TAIL * min(every) > 0:
        logarithmic(axes, "x")
    axes.set_ylim(0, 103)
