"""Metrics of Hugging Face evaluate by name, measured on the answers that a run has: `--metrics evaluate:f1`.

A name is one of evaluate's own (`f1`, `bleu`, `exact_match`), whose script it fetches from the Hub, or a local folder
with such a script. Scripts of other people on the Hub (`owner/name`) are refused: evaluate would run their code.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from inspect import signature
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from evals.integrations.hub_unseen import reaches
from evals.measurement import Measurement
from evals.rows.samples import Sample
from evals.runs.results import Result
from evals.statistics.resampling import percentile_interval
from evals.statistics.unseen import widened
from models.console.progress import Progress, silent
from models.errors import EspalierError, RequestError, first_line

if TYPE_CHECKING:
    from evaluate import EvaluationModule

PREFIX = "evaluate:"
RESAMPLES = 200  # each computes the metric anew
Samples = Mapping[tuple[str, str], Sequence[Sample]]  # by model and task; all models have the same tasks
Pairs = tuple[list, list]  # predictions and references
Reach = Callable[[], tuple[float, float] | None]  # the ends of a figure whose resamples all agree
Compute = Any  # (predictions, references) -> {figure: value}


def is_hub_metric(name: str) -> bool:
    """Whether a name on the command line asks for a metric of evaluate."""
    return name.startswith(PREFIX)


def hub_metric(name: str, **options: str) -> "EvaluationModule":
    """The metric of that name or local folder, with or without `evaluate:`; `options` are those of `evaluate.load`.

    Raises RequestError for a name that is refused or a missing library, EspalierError where it cannot be loaded.
    """
    name = name.removeprefix(PREFIX)
    local = Path(name).expanduser()
    if not local.exists() and "/" in name:
        raise RequestError(f"{name} is neither a folder nor one of evaluate's own metrics: use a name such as f1.")
    try:
        import evaluate
    except ImportError:
        raise RequestError(f"{PREFIX}{name} needs the library: pip install evaluate.") from None
    try:
        return evaluate.load(str(local.resolve()) if local.exists() else name, **options)
    except Exception as error:
        why = "check its script" if local.exists() else "it comes from the Hub; check the name and the network"
        raise EspalierError(
            f"The metric {name} of evaluate could not be loaded, {why} ({first_line(error)})."
        ) from error


def hub_results(
    name: str, samples: Samples, baseline: str, notes: list[str], seed: int = 0, progress: Progress | None = None
) -> list[Result]:
    """The metric's figures of every model on every task, and their differences from the baseline's, paired.

    `samples` are those of a run (`Trial.samples`), task by task the same for all models. Intervals are percentile
    bootstraps over samples; where all resamples agree, those of `evals.integrations.hub_unseen`. A task whose answers the metric does
    not take is named in `notes`; RequestError if it takes those of none, or there is no task. `name` may begin with
    `evaluate:`.
    """
    # Files of its own: those of a computation that failed stay locked, and the next of that name would wait for ever.
    metric = hub_metric(name, experiment_id=uuid4().hex)
    short = Path(name.removeprefix(PREFIX)).name
    tasks = list(dict.fromkeys(task for _, task in samples))
    if not tasks:
        raise RequestError(f"{PREFIX}{short} measures answers to tasks: name some by --tasks.")
    results: list[Result] = []
    refused: list[str] = []
    for at, task in enumerate(tasks):
        (progress or silent)(at / len(tasks), f"{PREFIX}{short}, {task}")
        answers = {model: members for (model, known), members in samples.items() if known == task}
        if (found := _fitting(metric, answers[baseline])) is None:
            refused.append(task)
            continue
        pairs, compute = found
        by_model = {model: pairs(members) for model, members in answers.items()}
        results += _results(short, task, by_model, baseline, compute, seed)
    if not results:
        raise RequestError(f"{PREFIX}{short} does not take the answers to {', '.join(refused)}: choose other tasks.")
    notes += [f"{PREFIX}{short} does not take the answers to {task}: it was not measured there." for task in refused]
    return results


def _results(
    name: str, task: str, by_model: Mapping[str, Pairs], baseline: str, compute: Compute, seed: int
) -> Iterator[Result]:
    count = len(by_model[baseline][0])
    drawn = np.random.default_rng(seed).integers(0, count, size=(RESAMPLES if count > 1 else 0, count))
    replicates = {
        model: [compute(*([side[at] for at in rows] for side in pairs)) for rows in drawn]
        for model, pairs in by_model.items()
    }
    values = {model: compute(*pairs) for model, pairs in by_model.items()}
    bounds: dict[str, dict[str, tuple[float, float]]] = {}

    def reach(model: str, figure: str) -> tuple[float, float] | None:
        if model not in bounds:
            bounds[model] = reaches(compute, by_model[model]) if count > 1 else {}
        return bounds[model].get(figure)

    protocol = {"name": f"evaluate {version('evaluate')}", "task": task, "metric": name, "rows": count}
    protocol["interval_over"] = f"{RESAMPLES} resamples of the rows"
    for model, figures in values.items():
        for figure, value in figures.items():
            spread = [each.get(figure, np.nan) for each in replicates[model]]
            told = _measurement(figure, value, spread, count, protocol, partial(reach, model, figure))
            yield Result(model, PREFIX + name, told)
            if model != baseline and figure in values[baseline]:
                other = [each.get(figure, np.nan) for each in replicates[baseline]]
                difference = np.array(spread) - np.array(other)
                apart = partial(_difference, partial(reach, baseline, figure), partial(reach, model, figure))
                told = _measurement(
                    f"{figure}_difference", value - values[baseline][figure], difference, count, protocol, apart
                )
                yield Result(model, PREFIX + name, told, baseline)


def _measurement(
    figure: str, value: float, spread: Sequence[float], count: int, protocol: dict, reach: Reach
) -> Measurement:
    known = np.array([each for each in spread if isfinite(each)])
    if len(known) < 2:
        return Measurement(figure, value, "", None, None, count, protocol)
    found = percentile_interval(value, known, count)
    if found.interval is None and (ends := reach()):
        found = widened(value, ends, count)
    return Measurement(figure, value, "", found.interval, found.stderr, count, protocol)


def _difference(first: Reach, second: Reach) -> tuple[float, float] | None:
    (one, other) = first(), second()
    return one and other and (other[0] - one[1], other[1] - one[0])


def _fitting(metric: "EvaluationModule", samples: Sequence[Sample]):
    """How the metric takes such samples: what makes them its pairs, and what computes it; None if it does not."""
    for form in FORMS:
        try:
            predictions, references = form(samples)
            compute = partial(_compute, metric, _options(metric, references))
            if compute(predictions, references):
                return form, compute
        except Exception:  # every metric complains in its own way about what it does not take
            continue
    return None


def _compute(metric: "EvaluationModule", options: dict, predictions: list, references: list) -> dict[str, float]:
    found = metric.compute(predictions=predictions, references=references, **options) or {}
    numbers = {name: float(value) for name, value in found.items() if isinstance(value, int | float | np.number)}
    return {name: value for name, value in numbers.items() if isfinite(value)}


def _options(metric: "EvaluationModule", references: list) -> dict:
    """The mean over classes where there are more than two, which scikit-learn's scores ask to be told."""
    averaged = "average" in signature(metric._compute).parameters
    classes = {reference for reference in references if isinstance(reference, int)}
    return {"average": "macro"} if averaged and len(classes) > 2 else {}


def _classes(samples: Sequence[Sample]) -> Pairs:
    """The numbers of the likeliest and of the right choice."""
    scores = [[choice["log_likelihood"] for choice in sample.answer] for sample in samples]
    return [row.index(max(row)) for row in scores], [int(sample.target) for sample in samples]


def _texts(samples: Sequence[Sample]) -> Pairs:
    """What was written, and all right answers."""
    return [_written(sample) for sample in samples], [_right(sample) for sample in samples]


def _first_texts(samples: Sequence[Sample]) -> Pairs:
    """What was written, and the first right answer."""
    return [_written(sample) for sample in samples], [_right(sample)[0] for sample in samples]


def _squad(samples: Sequence[Sample]) -> Pairs:
    """What was written and all right answers, in the form of SQuAD's metric."""
    predictions = [{"id": str(sample.doc_id), "prediction_text": _written(sample)} for sample in samples]
    answers = [{"text": _right(sample), "answer_start": [0] * len(_right(sample))} for sample in samples]
    return predictions, [{"id": str(s.doc_id), "answers": answer} for s, answer in zip(samples, answers, strict=True)]


FORMS = (_classes, _squad, _texts, _first_texts)


def _written(sample: Sample) -> str:
    if not isinstance(sample.answer, str):
        raise TypeError("not an answer in words")
    return sample.answer.strip()


def _right(sample: Sample) -> list[str]:
    return [sample.target] if isinstance(sample.target, str) else [str(each) for each in sample.target]
