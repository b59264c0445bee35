"""Pruning from end to end: settings and a model in, a pruned model and a report out."""

import time
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.progress import Progress, part, silent
from pruning.census import take_census
from pruning.config import PruningConfig
from pruning.job import Job
from pruning.plan import Plan
from pruning.registry import find
from pruning.report import Report
from pruning.roles import EXPERT_ROLES, find_anatomy
from pruning.windows import Windows, calibration_windows


def prune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    calibration: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    undoable: bool = True,
) -> Report:
    """Prunes `model` in place and reports what was done.

    `calibration` is a list of texts, or None for what `config.calibration` names. If the run fails or is cancelled
    (by `Cancelled` from `progress`) the model is left as it was: for that a copy of every changed weight is kept on
    the CPU until the end. `undoable=False` saves that memory, for a caller who drops the model then.

    Raises RequestError if the settings do not fit this model, EspalierError if a weight or statistic is not finite.
    """
    began = time.perf_counter()
    progress = progress or silent
    job = _job(model, tokenizer, config, calibration, progress)
    job.undo_steps = [] if undoable else None
    structure = find("structure", config.structure).implementation()
    before = take_census(model)
    try:
        plan = structure.apply(job, structure.plan(job))
        find("recover", config.recover).implementation(model, tokenizer)
        progress(1.0, "Pruned")
    except BaseException:
        job.undo()
        raise
    return Report(
        config=config,
        plan=plan,
        before=before,
        after=take_census(model),
        calibration=job.windows_used.as_dict() if job.windows_used else None,
        seconds=time.perf_counter() - began,
        warnings=_warnings(job, plan),
    )


def preview(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    calibration: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Plan:
    """What `prune` would take out; the model is not changed. Arguments and errors as in `prune`."""
    job = _job(model, tokenizer, config, calibration, progress or silent)
    return find("structure", config.structure).implementation().plan(job)


def _job(model, tokenizer, config, calibration, progress: Progress) -> Job:
    def read_windows() -> Windows:
        return calibration_windows(model, tokenizer, config, calibration, part(progress, 0.0, 0.1))

    return Job(model, find_anatomy(model), config, read_windows, part(progress, 0.1, 0.99))


def _warnings(job: Job, plan: Plan) -> tuple[str, ...]:
    warnings = [*(job.windows_used.warnings if job.windows_used else ()), *job.warnings]
    dead = [(entry.name, entry.dead_inputs) for entry in plan.projections if entry.dead_inputs]
    if dead:
        warnings.append(
            f"{sum(count for _, count in dead)} input channels of {len(dead)} projections (such as {dead[0][0]}) were "
            "zero on every calibration token: their weights went first."
        )
    experts = {entry.name.rpartition(".")[0]: entry.tokens for entry in plan.projections if entry.role in EXPERT_ROLES.values()}
    if unreached := [name for name, tokens in experts.items() if tokens == 0]:
        warnings.append(
            f"No calibration token reached {len(unreached)} of {len(experts)} experts (such as {unreached[0]}): they were "
            "pruned by their weights alone; use more --samples or other text."
        )
    return tuple(warnings)
