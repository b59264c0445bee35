"""One run: models, metrics, tasks and a text in; a validated results document out, as results.json and a report."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from evals import registry, task
from evals.asking.cache import Cache, default_path
from evals.contenders import Contenders
from evals.data import load_text
from evals.environment import environment
from evals.finished import Finished
from evals.hub_metrics import hub_metric, hub_results, is_hub_metric
from evals.reporting.harness_export import export
from evals.reporting.table import markdown
from evals.results import FILE_NAME, SCHEMA_VERSION, Result, validate, write_results
from evals.task import Task
from evals.task_run import with_holm
from evals.trial import Trial
from models.errors import RequestError
from models.files import write_text
from models.progress import Progress, part, silent

DEFAULT_METRICS = ("perplexity", "speed", "memory")


def evaluate_models(
    models: Sequence[str],
    out: Path | str | None = None,
    metrics: Sequence[str] | None = None,
    data: str = "embedded",
    quick: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
    command: str | None = None,
    tasks: Sequence[str] = (),
    source: Path | str | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    cache: Path | str | None = "default",
    options: Mapping[str, Any] | None = None,
) -> dict:
    """Measures MODELs, compares each with the first, and returns the results document (see `evals.results`).

    `data`, the text of the perplexity, is `embedded`, FILE or HUB_DATASET (see `evals.data`); `tasks` are names or
    files of `evals.task`, whose data lies below `source`, each cut to `limit` rows; `columns` names the fields of a
    table among them. Without `metrics` those of the tasks are taken, or the default ones. `quick` takes fewer samples;
    `seed` is that of the bootstrap. Answers are kept in the `cache`: a file, `default`, or None. `options` are
    `protocol`, `length` and `stride` of the perplexity.

    With `out`, results.json, report.md, and the files of lm-evaluation-harness with all samples are written there at
    the end; a folder that holds results is refused at the beginning, and one of a run that was cut off is gone on with.
    Raises RequestError for every mistake in the request, before any measuring and with nothing written.
    """
    began = time.monotonic()
    out = Path(out) if out is not None else None
    if out is not None:
        refuse_taken(out)
    hub = [name for name in metrics or () if is_hub_metric(name)]
    own = None if metrics is None else [name for name in metrics if name not in hub]
    if hub and not tasks:
        raise RequestError(f"{hub[0]} measures answers to tasks: name some by --tasks.")
    chosen, chosen_tasks, source = choose(own if own or not hub else None, tasks, source, limit, columns)
    for name in hub:
        hub_metric(name)  # tells at once if it cannot be had
    text = load_text(data)
    contenders = Contenders(models, device, dtype, max(metric.models_at_once for metric in chosen))
    names = [*(metric.name for metric in chosen), *hub]
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    settings = {
        "metrics": names,
        "tasks": [each.name for each in chosen_tasks],
        "data": {"id": text.id, "sha256": text.sha256, "revision": text.revision},
        "quick": quick,
        "device": device,
        "dtype": dtype,
        "seed": seed,
        "limit": limit,
        "options": {name: value for name, value in (options or {}).items() if value is not None},
    }
    finished = Finished(out, settings | {"models": [[name, contenders.identity(name)] for name in models]})
    answers = _cache(cache)
    trial = Trial(contenders, text, quick, seed, silent, [], chosen_tasks, source, limit, settings["options"], answers)
    place = environment()
    results: list[Result] = []
    notes: list[str] = []
    try:
        for at, metric in enumerate(chosen):
            trial.progress = part(progress or silent, at / len(chosen), (at + 1) / len(chosen))
            if (known := finished.find(metric.name)) is None:
                trial.notes = []
                known = list(metric.measure(trial)), trial.notes
                if not metric.tasks:  # what tasks need for the samples comes from the cache
                    finished.keep(metric.name, *known)
            results += known[0]
            notes += known[1]
        for name in hub:
            results += hub_results(name, trial.samples, contenders.baseline, notes, seed, silent)
    finally:
        if answers is not None:
            answers.close()
    document = {
        "schema_version": SCHEMA_VERSION,
        "created": created,
        "command": command or f"evaluate_models({list(models)!r}, metrics={names!r}, data={data!r}, quick={quick})",
        "environment": place,
        "settings": settings,
        "models": [contenders.record(name) for name in contenders.names],
        "results": [result.as_dict() for result in with_holm(results)],
        "notes": notes,
        "seconds": round(time.monotonic() - began, 1),
    }
    validate(document, FILE_NAME)
    if out is not None:
        document = export(out, document, trial.samples)
        write_text(out / "report.md", markdown(document))
        # The results last: a folder that holds them is complete.
        write_results(out, document)
        finished.clear()
    return document


def choose(
    metrics: Sequence[str] | None,
    tasks: Sequence[str],
    source: Path | str | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> tuple[list[registry.Metric], list[Task], Path | None]:
    """The metrics, the tasks and the folder of their data that a run of these arguments measures.

    RequestError for what is unknown or missing.
    """
    chosen_tasks = _tasks(tasks, columns)
    chosen = _metrics(metrics, chosen_tasks)
    chosen_tasks = _with_embedded(chosen, chosen_tasks)
    folder = _source(source)
    if limit is not None and limit < 1:
        raise RequestError("The limit must be 1 row or more.")
    for each in chosen_tasks:
        each.rows(folder, 1)  # tells at once if its data is missing
    return chosen, chosen_tasks, folder


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


def _cache(path: Path | str | None) -> Cache | None:
    if path is None:
        return None
    return Cache(default_path() if path == "default" else Path(path).expanduser())


def refuse_taken(out: Path) -> None:
    """RequestError if a folder for results holds some already, or cannot be written."""
    if (out / FILE_NAME).exists():
        raise RequestError(f"{out} holds results already: choose another folder. Nothing was done.")
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not place.is_dir():
        raise RequestError(f"{place} is a file: choose a folder for the results. Nothing was done.")
    if not os.access(place, os.W_OK):
        raise RequestError(f"{place} is not writable: choose another folder for the results. Nothing was done.")
