"""Quality against a cost, the model that is best in neither left behind: what the Pareto plots share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING

from evals.judging.task_scores import scale, task_scores
from evals.measurement import Measurement
from evals.reporting.canvas import canvas, legend, logarithmic, look, place_labels, points, shorten
from evals.reporting.headings import title
from evals.reporting.lineage import lineage, point_label
from evals.reporting.plotting import Undrawable
from evals.runs.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PERPLEXITIES = ("perplexity", "word_perplexity", "bits_per_byte")  # the first that all models share
NORMAL = 1.96  # standard errors to each end of a 95 % interval of a mean over tasks
QUALITIES = ("accuracy", "exact_match", "f1", "rouge1")  # scores whose mean over tasks tells a quality
WIDE = 4.0  # times between the lowest and the highest cost from which on its axis is logarithmic


@dataclass(frozen=True)
class Cost:
    """A cost of every model, its label with the unit, and, where no file or process has it yet, a forecast of it."""

    label: str
    values: dict[str, Measurement]
    cheaper_is_lower: bool = True
    forecasts: dict[str, Measurement] = field(default_factory=dict)


@dataclass(frozen=True)
class Quality:
    """A quality of every model."""

    label: str
    values: dict[str, Measurement]
    higher_is_better: bool


def pareto(document: dict, cost: Cost) -> "Figure":
    """A panel a quality, with a line through the models that no other beats in both quality and cost.

    Raises Undrawable unless two models have both.
    """
    if len(cost.values) < 2:
        raise Undrawable("it takes two models with this cost measured")
    known = [quality for quality in _qualities(document) if len(quality.values.keys() & cost.values.keys()) > 1]
    if not known:
        raise Undrawable("neither perplexity nor a task's score was measured for two of the models")
    figure, axes = canvas(len(known))
    models = lineage(document)
    for panel, quality in zip(axes, known, strict=True):
        _draw(
            panel, cost, quality, {name: models[name].method or name for name in quality.values if name in cost.values}
        )
    legend(axes[-1])  # the same for all panels
    for panel, quality in zip(axes, known, strict=True):
        # The hollow mark stands clearer: files of one size stand above each other.
        at = {
            name: (cost.forecasts.get(name) or cost.values[name]).value
            for name in quality.values
            if name in cost.values
        }
        labels = {name: shorten(point_label(models[name])) if models[name].method else "" for name in at}
        place_labels(panel, [(at[name], quality.values[name].value, label) for name, label in labels.items()])
    return figure


def front(spots: Sequence[tuple[float, float]], cheaper_is_lower: bool, higher_is_better: bool) -> list[int]:
    """Which (cost, quality) no other beats: as good in both and better in one. In order of cost.

    Both are compared to three significant digits: sixteen bytes less are no gain.
    """
    rounded = [(float(f"{cost:.3g}"), float(f"{quality:.3g}")) for cost, quality in spots]
    signed = [
        (cost if cheaper_is_lower else -cost, -quality if higher_is_better else quality) for cost, quality in rounded
    ]
    kept = [
        at
        for at, spot in enumerate(signed)
        if not any(other != spot and other[0] <= spot[0] and other[1] <= spot[1] for other in signed)
    ]
    return sorted(kept, key=lambda at: spots[at])


def _draw(axes: "Axes", cost: Cost, quality: Quality, lines: dict[str, str]) -> None:
    """`lines` has for every model the method it belongs to."""
    looks = {line: look(at) for at, line in enumerate(dict.fromkeys(lines.values()))}
    for line, style in looks.items():
        members = [name for name in lines if lines[name] == line]
        values = [quality.values[name] for name in members]
        points(axes, [cost.values[name] for name in members], values, label=shorten(line), linestyle="none", **style)
        for name in members:
            if name in cost.forecasts:
                across, up = [cost.values[name].value, cost.forecasts[name].value], [quality.values[name].value] * 2
                axes.plot(across, up, color=style["color"], linestyle=":", linewidth=1)
                axes.plot(across[1:], up[1:], **style, markerfacecolor="white", markersize=6)
    spots = [(cost.values[name].value, quality.values[name].value) for name in lines]
    best = [spots[at] for at in front(spots, cost.cheaper_is_lower, quality.higher_is_better)]
    axes.plot(*zip(*best, strict=True), color="0.55", linewidth=1, zorder=1, label="not beaten in both")
    if any(name in cost.forecasts for name in lines):
        axes.plot([], [], color="0.4", marker="o", markerfacecolor="white", linestyle=":", label="if packed (forecast)")
    axes.set(xlabel=cost.label, ylabel=quality.label)
    across = [spot[0] for spot in spots] + [cost.forecasts[name].value for name in lines if name in cost.forecasts]
    if max(across) > WIDE * min(across) > 0:
        logarithmic(axes, "x")


def _qualities(document: dict) -> list[Quality]:
    results = [Result.from_dict(entry) for entry in document["results"] if entry["baseline"] is None]
    return [found for found in (_perplexity(results), _score(results)) if found is not None]


def _perplexity(results: Sequence[Result]) -> Quality | None:
    """The first perplexity that was measured, unless it was under several protocols or with several tokenizers."""
    for metric in PERPLEXITIES:
        found = [result for result in results if result.measurement.metric == metric and result.task is None]
        first = [result for result in found if _text(result) == _text(found[0])]
        tokenizers = {result.measurement.protocol.get("tokens_sha256") for result in first}
        if first and (len(tokenizers) == 1 or metric != "perplexity"):
            unit = first[0].measurement.unit
            label = f"{title(metric)}{f' ({unit})' if unit else ''}, lower is better"
            return Quality(label, {result.model: result.measurement for result in first}, False)
    return None


def _text(result: Result) -> tuple:
    protocol = result.measurement.protocol
    return tuple(str(protocol.get(key)) for key in ("name", "text", "text_sha256", "length", "stride"))


def _score(results: Sequence[Result]) -> Quality | None:
    """The mean over tasks whose scores are shares, of the models that have them all."""
    scores = {
        task: {model: result.measurement for model, result in by_model.items()}
        for task, by_model in task_scores(results).items()
        if scale(by_model) == "0 to 1" and next(iter(by_model.values())).measurement.metric in QUALITIES
    }
    if not scores:
        return None
    models = set.intersection(*(set(by_model) for by_model in scores.values()))
    if not models:
        return None
    order = [name for name in next(iter(scores.values())) if name in models]
    means = {name: _mean([by_model[name] for by_model in scores.values()]) for name in order}
    tasks = list(scores)
    label = f"{tasks[0]}: {title(next(iter(scores[tasks[0]].values())).metric, first=False)}"
    return Quality(label if len(tasks) == 1 else f"mean score of {len(tasks)} tasks, higher is better", means, True)


def _mean(scores: Sequence[Measurement]) -> Measurement:
    if len(scores) == 1:
        return scores[0]
    value = sum(score.value for score in scores) / len(scores)
    known = all(score.stderr is not None for score in scores)
    half = NORMAL * sqrt(sum(score.stderr**2 for score in scores)) / len(scores) if known else 0.0
    return Measurement("mean_score", value, "", (value - half, value + half) if half else None, n=len(scores))
