"""The scores of the tasks."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evals.judging.task_scores import Scores, scale, task_scores
from evals.reporting.canvas import column, legend, look, points, shorten
from evals.reporting.headings import title
from evals.reporting.plotting import Undrawable, plot
from evals.runs.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, BAR = 0.35, 0.16  # inches: of a task, and of each model in it
MARGINS = 0.8  # inches above and below


@plot()
def tasks(document: dict) -> "Figure":
    """The score of every task, with 95 % intervals: a mark a model."""
    by_scale = _by_scale(task_scores([Result.from_dict(entry) for entry in document["results"]]))
    if not by_scale:
        raise Undrawable("no task was measured")
    models = list(dict.fromkeys(model for scores in by_scale.values() for row in scores.values() for model in row))
    figure, axes = column([MARGINS + len(scores) * (ROW + BAR * len(models)) for scores in by_scale.values()])
    for panel, (run_over, scores) in zip(axes, by_scale.items(), strict=True):
        _draw(panel, run_over, scores, models)
    legend(axes[0])
    return figure


def _by_scale(scores: Scores) -> dict[str, Scores]:
    found: dict[str, Scores] = defaultdict(dict)
    for task, by_model in scores.items():
        found[scale(by_model)][task] = by_model
    return found


def _draw(axes: "Axes", run_over: str, scores: Scores, models: Sequence[str]) -> None:
    step = 0.7 / len(models)
    for at, model in enumerate(models):
        rows = [row for row, by_model in enumerate(scores.values()) if model in by_model]
        found = [by_model[model].measurement for by_model in scores.values() if model in by_model]
        heights = [row + (at - (len(models) - 1) / 2) * step for row in rows]
        points(axes, found, heights, label=shorten(model), linestyle="none", **look(at))
    names = [
        f"{task}\n{title(next(iter(row.values())).measurement.metric, first=False)}" for task, row in scores.items()
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)  # the first task on top
    axes.grid(visible=False, axis="y")
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color="0.85", linewidth=0.8)
    axes.set_xlabel(f"score ({run_over})")
