"""The scores of the tasks."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evals.canvas import column, legend, look, points, shorten
from evals.headings import title
from evals.plotting import Undrawable, plot
from evals.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A task's score is the first of these that it has, else the first that was measured.
SCORES = ("accuracy", "exact_match", "f1", "bleu", "chrf", "rouge1", "distinct_2")
POINTS = ("bleu", "chrf")  # from 0 to 100
ROW, BAR = 0.35, 0.16  # inches: of a task, and of each model in it
MARGINS = 0.8  # inches above and below
Scores = dict[str, dict[str, Result]]  # by task, by model


@plot()
def tasks(document: dict) -> "Figure":
    """The score of every task, with 95 % intervals: a mark a model."""
    by_unit = _by_unit(_scores([Result.from_dict(entry) for entry in document["results"]]))
    if not by_unit:
        raise Undrawable("no task was measured")
    models = list(dict.fromkeys(model for scores in by_unit.values() for row in scores.values() for model in row))
    figure, axes = column([MARGINS + len(scores) * (ROW + BAR * len(models)) for scores in by_unit.values()])
    for panel, (unit, scores) in zip(axes, by_unit.items(), strict=True):
        _draw(panel, unit, scores, models)
    legend(axes[0])
    return figure


def _scores(results: Sequence[Result]) -> Scores:
    measured: dict[str, dict[str, dict[str, Result]]] = defaultdict(lambda: defaultdict(dict))  # by task, metric, model
    for result in results:
        if result.task and result.baseline is None:
            measured[result.task][result.measurement.metric].setdefault(result.model, result)
    return {
        task: metrics[next((name for name in SCORES if name in metrics), next(iter(metrics)))]
        for task, metrics in measured.items()
    }


def _by_unit(scores: Scores) -> dict[str, Scores]:
    found: dict[str, Scores] = defaultdict(dict)
    for task, by_model in scores.items():
        measurement = next(iter(by_model.values())).measurement
        found["0 to 100" if measurement.metric in POINTS else measurement.unit or "0 to 1"][task] = by_model
    return found


def _draw(axes: "Axes", unit: str, scores: Scores, models: Sequence[str]) -> None:
    step = 0.7 / len(models)
    for at, model in enumerate(models):
        rows = [row for row, by_model in enumerate(scores.values()) if model in by_model]
        found = [by_model[model].measurement for by_model in scores.values() if model in by_model]
        heights = [row + (at - (len(models) - 1) / 2) * step for row in rows]
        points(axes, found, heights, label=shorten(model), linestyle="none", **look(at))
    names = [f"{task}\n{title(next(iter(row.values())).measurement.metric, first=False)}" for task, row in scores.items()]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)  # the first task on top
    axes.grid(visible=False, axis="y")
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color="0.85", linewidth=0.8)
    axes.set_xlabel(f"score ({unit})")

