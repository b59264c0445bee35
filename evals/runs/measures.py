"""What a run is to measure: metrics, tasks and the folder of their data, checked before any measuring."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evals import protocols, registry, task
from evals.integrations.hub_metrics import hub_metric, is_hub_metric
from evals.runs.results import FILE_NAME
from evals.task import Task
from models.errors import RequestError
from models.storage.destination import try_files

DEFAULT_METRICS = ("perplexity", "speed", "memory")


class Measures(NamedTuple):
    """Metrics of ours, tasks, the folder of their data, and names of metrics of Hugging Face evaluate."""

    metrics: list[registry.Metric]
    tasks: list[Task]
    source: Path | None
    hub: list[str]


def choose(
    metrics: Sequence[str] | None,
    tasks: Sequence[str],
    source: Path | str | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Measures:
    """What a run of these arguments measures (see `evals.runs.run.evaluate_models`).

    RequestError for what is unknown or missing, EspalierError for a metric of evaluate that cannot be fetched.
    """
    hub = [name for name in metrics or () if is_hub_metric(name)]
    if hub and not tasks:
        raise RequestError(f"{hub[0]} measures answers to tasks: name some by --tasks.")
    own = [name for name in metrics or () if name not in hub]
    chosen_tasks = _tasks(tasks, columns)
    chosen = _metrics(None if metrics is None or (hub and not own) else own, chosen_tasks)
    protocol, bos = ((options or {}).get(name) for name in ("protocol", "bos"))
    if protocol or bos:
        protocols.check_bos(protocol or protocols.DEFAULT, bos)
    chosen_tasks = _with_embedded(chosen, chosen_tasks)
    folder = _source(source)
    if limit is not None and limit < 1:
        raise RequestError("The limit must be 1 row or more.")
    for each in chosen_tasks:
        # Tells at once if its data is missing or a row of it faulty, even one beyond the limit.
        each.check_rows(each.all_rows(folder), registry.find(each.metric).check)
    for name in hub:
        hub_metric(name)  # tells at once if it cannot be had
    return Measures(chosen, chosen_tasks, folder, hub)


def _tasks(names: Sequence[str], columns: Mapping[str, str] | None) -> list[Task]:
    found = [task.find(name, dict(columns or {})) for name in dict.fromkeys(names)]
    titles = [each.name for each in found]
    if twice := [title for title in titles if titles.count(title) > 1]:
        raise RequestError(f"Two tasks are called {twice[0]}: rename the file of one.")
    return found


def _metrics(names: Sequence[str] | None, tasks: Sequence[Task]) -> list[registry.Metric]:
    if names is None:
        names = [each.metric for each in tasks] or DEFAULT_METRICS
    if not names:
        raise RequestError(f"There is no metric to measure: use some of {', '.join(registry.names())}.")
    asked = [*names, *(each.metric for each in tasks)]
    return [registry.find(name) for name in dict.fromkeys(asked)]


def _with_embedded(metrics: Sequence[registry.Metric], tasks: Sequence[Task]) -> list[Task]:
    """The tasks, and for a metric of tasks that none of them is of, those whose data ships with the project."""
    chosen = list(tasks)
    for metric in metrics:
        if metric.tasks and not any(each.metric == metric.name for each in tasks):
            known = [each for each in map(task.find, task.names()) if each.metric == metric.name]
            chosen += [each for each in known if each.is_embedded]
            if not any(each.is_embedded for each in known):
                names = ", ".join(each.name for each in known)
                raise RequestError(f"{metric.name} needs a task and its data: --tasks {names} --source DIR.")
    return chosen


def _source(source: Path | str | None) -> Path | None:
    if source is None:
        return None
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder}: --source names the folder of the data sets.")
    return folder


def refuse_taken(out: Path) -> None:
    """RequestError if a folder for results holds some already, or files cannot be written there."""
    try_files(out)
    if (out / FILE_NAME).exists():
        raise RequestError(f"{out} holds results already: choose another folder. Nothing was done.")
