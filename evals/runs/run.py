"""One run: models, metrics, tasks and a text in; a validated results document out, as results.json and a report."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from evals.asking.cache import Cache, default_path
from evals.environment import environment
from evals.integrations.hub_metrics import hub_results
from evals.model_pool import ModelPool
from evals.reporting.harness_export import export
from evals.reporting.table import markdown
from evals.runs.finished import Finished
from evals.runs.measures import choose, refuse_taken
from evals.runs.results import FILE_NAME, SCHEMA_VERSION, Result, validate, write_results
from evals.task_run import with_holm
from evals.text_losses.data import load_text
from evals.trial import Trial
from models.console.progress import Progress, part, silent
from models.errors import EspalierError
from models.storage.disk import WriteFailed
from models.storage.files import write_text


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
    """Measures MODELs, compares each with the first, and returns the results document (see `evals.runs.results`).

    `data`, the text of the perplexity, is `embedded`, FILE or HUB_DATASET (see `evals.text_losses.data`); `tasks` are names or
    files of `evals.task`, whose data lies below `source`, each cut to `limit` rows; `columns` names the fields of a
    table among them. Without `metrics` those of the tasks are taken, or the default ones. `quick` takes fewer samples;
    `seed` is that of the bootstrap. Answers are kept in the `cache`: a file, `default`, or None. `options` are
    `protocol`, `length`, `stride` and `bos` of the perplexity, and `layouts`: whether sparse models are also timed
    packed.

    With `out`, results.json, report.md, and the files of lm-evaluation-harness with all samples are written there at
    the end; a folder that holds results is refused at the beginning, and one of a run that was cut off is gone on with.
    Raises RequestError for every mistake in the request, before any measuring and with nothing written.
    """
    began = time.monotonic()
    out = Path(out) if out is not None else None
    if out is not None:
        refuse_taken(out)
    chosen, chosen_tasks, folder, hub = choose(metrics, tasks, source, limit, columns, options)
    text = load_text(data)
    pool = ModelPool(models, device, dtype, max(metric.models_at_once for metric in chosen))
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
    place = environment()
    machine = {name: place[name] for name in ("cpu", "gpu", "cuda", "threads", "libraries")}
    run = {"models": [[name, pool.identity(name)] for name in models], "machine": machine}
    finished = Finished(out, settings | run)
    answers = _cache(cache)
    trial = Trial(pool, text, quick, seed, silent, [], chosen_tasks, folder, limit, settings["options"], answers)
    results: list[Result] = []
    notes: list[str] = []
    try:
        open_metrics = [metric for metric in chosen if finished.find(metric.name) is None]
        # A metric that scores refuses by itself; before it others must not have been measured for nothing.
        if any(metric.scores for metric in open_metrics) and not open_metrics[0].scores:
            for name in reversed(models):  # the first is measured first: it stays in memory
                trial.client(name).refuse_leaks()
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
            results += hub_results(name, trial.samples, pool.baseline, notes, seed, silent)
    finally:
        if answers is not None:
            answers.close()
    document = {
        "schema_version": SCHEMA_VERSION,
        "created": created,
        "command": command or f"evaluate_models({list(models)!r}, metrics={names!r}, data={data!r}, quick={quick})",
        "environment": place,
        "settings": settings,
        "models": [pool.record(name) for name in _measured(pool.names, results)],
        "results": [result.as_dict() for result in with_holm(results)],
        "notes": [*pool.notes(), *notes],
        "seconds": round(time.monotonic() - began, 1),
    }
    validate(document, FILE_NAME)
    if out is not None:
        document = _written(out, document, trial, finished)
    return document


def _written(out: Path, document: dict, trial: Trial, finished: Finished) -> dict:
    """Writes all files of a run. EspalierError, which says where the figures are kept, if the disk refuses them."""
    try:
        document = export(out, document, trial.samples)
        write_text(out / "report.md", markdown(document))
        # The results last: a folder that holds them is complete.
        write_results(out, document)
    except WriteFailed as error:
        kept = [str(each) for each in (finished.path, trial.answers and trial.answers.path) if each and each.exists()]
        where = f" What was measured is kept in {' and '.join(kept)}: the same command goes on with it." if kept else ""
        raise EspalierError(f"{error}{where}") from error
    finished.clear()
    return document


def _measured(names: Sequence[str], results: Sequence[Result]) -> list[str]:
    """The models asked for, and after them their layouts that a metric measured beside."""
    return list(dict.fromkeys([*names, *(result.model for result in results)]))


def _cache(path: Path | str | None) -> Cache | None:
    if path is None:
        return None
    return Cache(default_path() if path == "default" else Path(path).expanduser())
