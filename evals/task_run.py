"""One metric over its tasks: every model answers, every answer is judged, and each model is compared with the first."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from evals.asking.request_client import RequestClient
from evals.measurement import Measurement
from evals.rows.row import Row
from evals.rows.samples import Sample
from evals.runs.results import PairedTest, Result
from evals.statistics import Estimate
from evals.statistics.figures import Figure, compare, estimate, ratio_of_sums
from evals.statistics.unseen import parts_within
from evals.task import Task
from evals.trial import Trial
from models.console.progress import Progress, part

Statistics = dict[str, Sequence[float]]  # of one sample, by figure
Figures = Callable[[Task], Sequence[Figure]]
Answer = Callable[[RequestClient, Task, Sequence[Row], Progress], Sequence[Any]]
Judge = Callable[[Task, Row, Any], Statistics]
Target = Callable[[Task, Row], Any]
Protocol = Callable[[Task], dict]
Details = Callable[[Task, Sequence[Sample]], dict]  # what the protocol tells of one model's answers
Flips = Callable[[Any, Any], float]  # of the two models' answers: 1.0 where they differ
FLIP_RATE = Figure("flip_rate", higher_is_better=False)


def run_tasks(
    trial: Trial,
    metric: str,
    figures: Figures,
    answer: Answer,
    judge: Judge,
    target: Target,
    protocol: Protocol = lambda task: {},
    flips: Flips | None = None,
    details: Details = lambda task, samples: {},
) -> Iterator[Result]:
    """The figures of every task of the metric for every model, and each model's differences from the first.

    `answer` asks a model about rows; `judge` makes the sufficient statistics of a row's answer for each figure; with
    `flips` the share of rows that two models answer differently is told; `details` are for each model's protocol. A model is loaded once for all tasks. The
    samples are left with the trial.
    """
    tasks = {task.name: task for task in trial.tasks(metric)}
    trial.notes += [note for task in tasks.values() for note in _flattered(trial, task)]
    available = {name: task.all_rows(trial.source) for name, task in tasks.items()}
    rows = {name: task.chosen(available[name], trial.most(task)) for name, task in tasks.items()}
    names = trial.pool.names
    found: dict[tuple[str, str], list[Sample]] = {}
    for at, model in enumerate(names):
        client = trial.client(model)
        for number, (name, task) in enumerate(tasks.items()):
            done = at + number / len(tasks)
            share = part(trial.progress, done / len(names), (done + 1 / len(tasks)) / len(names))
            answers = answer(client, task, rows[name], share)
            samples = [
                Sample(place, row, task.prompt_of(row), target(task, row), given, judge(task, row, given))
                for place, (row, given) in enumerate(zip(rows[name], answers, strict=True))
            ]
            found[model, name] = trial.samples[model, name] = samples
    for name, task in tasks.items():
        told = {"name": metric, "task": name, "task_sha256": task.digest, "rows": len(rows[name])}
        told |= {"rows_available": len(available[name]), "shots": task.shots} | protocol(task)
        told["rows_sha256"] = hashlib.sha256(json.dumps(rows[name], sort_keys=True).encode()).hexdigest()[:16]
        if cluster := task.options.get("cluster"):
            told["cluster"] = cluster
        for figure in figures(task):
            answered = {model: found[model, name] for model in names}
            yield from _figure(trial, metric, figure, answered, told, partial(_of_model, trial, details, task))
        for model in trial.pool.others if flips else ():
            pairs = zip(found[trial.pool.baseline, name], found[model, name], strict=True)
            shares = np.array([[flips(first.answer, second.answer)] for first, second in pairs])
            measured = _measurement("flip_rate", "", estimate(FLIP_RATE, shares, trial.seed), told)
            yield Result(model, metric, measured, trial.pool.baseline)


def _figure(
    trial: Trial, group: str, figure: Figure, samples: dict[str, list[Sample]], protocol: dict, details: Callable
) -> Iterator[Result]:
    figure, matrices = clustered(figure, samples, protocol.get("cluster"))
    if not len(matrices[trial.pool.baseline]):  # a group that none of the few rows is of
        return
    baseline = trial.pool.baseline
    count = sum(figure.name in sample.statistics for sample in samples[baseline])
    for model, matrix in matrices.items():
        found = estimate(figure, matrix, trial.seed)._replace(n=count)
        measured = _measurement(figure.name, figure.unit, found, protocol | details(model, samples[model]))
        yield Result(model, group, measured)
        if model != baseline:
            difference, test, p, smallest = compare(figure, matrices[baseline], matrix, trial.seed)
            difference = difference._replace(n=count)
            measured = _measurement(f"{figure.name}_difference", figure.unit, difference, protocol)
            yield Result(model, group, measured, baseline, PairedTest(test, p, smallest))


def _of_model(trial: Trial, details: Details, task: Task, model: str, samples: Sequence[Sample]) -> dict:
    """What the protocol tells of one model's answers."""
    cut = trial.contexts_cut.get((model, task.name))
    return details(task, samples) | ({"contexts_cut": cut} if cut is not None else {})


def _flattered(trial: Trial, task: Task) -> Iterator[str]:
    if "trained_on" in task.options:
        for name in trial.pool.names:
            if trial.pool.dense(name) == "embedded":
                yield f"{name} was trained on {task.options['trained_on']}: its figures on {task.name} flatter it."


def clustered(
    figure: Figure, samples: dict[str, list[Sample]], field: str | None
) -> tuple[Figure, dict[str, np.ndarray]]:
    """The figure and the statistics [n, k] of every model; with a `field`, summed over the samples that share it.

    Questions on one passage are not independent: their intervals are over passages. A mean becomes a ratio of sums.
    """
    if field is None:
        return figure, {model: statistics_of(figure, some) for model, some in samples.items()}
    summed = {}
    for model, some in samples.items():
        groups: dict[Any, list[np.ndarray]] = {}
        for sample in some:
            if figure.name in sample.statistics:
                counted = [*sample.statistics[figure.name], *([1.0] if figure.reduce is None else [])]
                groups.setdefault(sample.doc[field], []).append(np.array(counted))
        summed[model] = np.array([np.sum(members, axis=0) for members in groups.values()])
    if figure.reduce is not None:
        return figure, summed
    others = figure.bounds and parts_within(*figure.bounds)
    return replace(figure, reduce=ratio_of_sums, others=others), summed


def statistics_of(figure: Figure, samples: Sequence[Sample]) -> np.ndarray:
    """The sufficient statistics [n, k] of a figure, over the samples that it is of."""
    return np.array([s.statistics[figure.name] for s in samples if figure.name in s.statistics], dtype=np.float64)


def with_holm(results: Sequence[Result]) -> list[Result]:
    """The results with Holm's correction: over the tasks of the run, for one model and one figure."""
    from evals.statistics import holm

    families: dict[tuple, list[int]] = {}
    for at, result in enumerate(results):
        if result.test and result.test.p is not None:
            families.setdefault((result.model, result.measurement.metric), []).append(at)
    corrected = list(results)
    for members in families.values():
        adjusted = holm([results[at].test.p for at in members])
        for at, p in zip(members, adjusted, strict=True):
            corrected[at] = replace(results[at], test=replace(results[at].test, p_holm=float(p)))
    return corrected


def _measurement(name: str, unit: str, found: Estimate, protocol: dict) -> Measurement:
    return Measurement(name, found.value, unit, found.interval, found.stderr, found.n, protocol)
