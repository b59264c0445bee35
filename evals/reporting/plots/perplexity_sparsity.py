"""Perplexity against sparsity."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evals.reporting.canvas import canvas, legend, logarithmic, look, points, shorten
from evals.reporting.headings import facts, title
from evals.reporting.lineage import Pruned, amounts, lineage
from evals.reporting.plotting import Undrawable, plot
from evals.runs.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = ("perplexity", "word_perplexity", "mean_perplexity", "bits_per_byte")
TOLD = ("text", "length")  # of the protocol, in the title
MOST_PANELS = 4
DENSE = "0.35"
SIDEWAYS = 0.06  # share of the axis over which marks of one sparsity stand apart, so that their bars are seen
WIDE = 4.0  # times between the lowest and the highest perplexity from which on the axis is logarithmic


@plot()
def perplexity_sparsity(document: dict) -> "Figure":
    """Perplexity against sparsity, with 95 % intervals: a line a method of a dense model, its marks a little apart."""
    models = lineage(document)
    panels = _panels([Result.from_dict(entry) for entry in document["results"]], models)
    figure, axes = canvas(len(panels))
    for panel, results in zip(axes, panels, strict=True):
        _draw(panel, results, models)
    return figure


def _panels(results: Sequence[Result], models: dict[str, Pruned]) -> list[list[Result]]:
    """Perplexities that may be compared: of one protocol, text and tokenizer, with a pruned model among them."""
    kinds: dict[tuple, list[Result]] = defaultdict(list)
    for result in results:
        if result.measurement.metric in METRICS and result.baseline is None:
            kinds[_kind(result)].append(result)
    if not kinds:
        raise Undrawable("no perplexity was measured")
    shown = [members for members in kinds.values() if any(not models[result.model].is_dense for result in members)]
    if not shown:
        raise Undrawable("no pruned model was measured")
    by_perplexity = [members for members in shown if members[0].measurement.metric != "bits_per_byte"]
    return (by_perplexity or shown)[:MOST_PANELS]


def _kind(result: Result) -> tuple:
    protocol = result.measurement.protocol
    metric = result.measurement.metric
    tokens = protocol.get("tokens_sha256") if metric == "perplexity" else None
    keys = ("name", "text", "text_sha256", "length", "stride")
    return (result.task, metric, tokens, *(str(protocol.get(key)) for key in keys))


def _draw(axes: "Axes", results: Sequence[Result], models: dict[str, Pruned]) -> None:
    shares, of_what = amounts([models[result.model] for result in results])
    dense = {result.model: result for result in results if models[result.model].is_dense}
    lines: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        model = models[result.model]
        if not model.is_dense:
            lines[model.method or result.model, model.baseline].append(result)
    several = len({baseline for _, baseline in lines}) > 1
    apart = SIDEWAYS * max(shares.values()) / len(lines)
    for at, ((name, baseline), members) in enumerate(lines.items()):
        name = f"{name} of {baseline}" if several else name
        members = sorted(members, key=lambda result: shares[result.model])
        shift = (at - (len(lines) - 1) / 2) * apart
        across = [100 * (shares[result.model] + shift) for result in members]
        points(axes, across, [result.measurement for result in members], label=shorten(name), **look(at))
        if start := dense.get(baseline):
            start = [(0, start.measurement.value), (across[0], members[0].measurement.value)]
            axes.plot(*zip(*start, strict=True), color=look(at)["color"], linewidth=1.5, zorder=1)
    for at, result in enumerate(dense.values()):
        style = {"color": DENSE, "linestyle": ("--", ":", "-.")[at % 3], "linewidth": 1}
        axes.axhline(result.measurement.value, label=f"{shorten(result.model)} (dense)", **style)
        points(axes, [0], [result.measurement], color=DENSE, marker="o")
    values = [result.measurement.value for result in results]
    if max(values) > WIDE * min(values) > 0:
        logarithmic(axes, "y")
    first = results[0].measurement
    name = title(first.metric)
    axes.set(
        title=", ".join(filter(None, [results[0].task, first.protocol.get("name"), facts(first.protocol, TOLD)])),
        xlabel=of_what,
        ylabel=f"{name} ({first.unit})" if first.unit else name,
    )
    legend(axes)
