"""Pruning from end to end: settings and a model in, a pruned model and a report out."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.console.progress import Progress, part, silent
from models.precision import computing_in
from pruning.anatomy.census import count_parameters
from pruning.anatomy.roles import EXPERT_ROLES, find_anatomy
from pruning.calibrating.overlap import sketch
from pruning.calibrating.windows import Windows, calibration_windows
from pruning.config import PruningConfig
from pruning.guards import dense_perplexity, memory_advice
from pruning.job import Job
from pruning.numerics.matmul import exact_matmul
from pruning.plan import Plan
from pruning.recovering import Recovery
from pruning.registry import find
from pruning.report import Report
from pruning.saved.checkpoint import Checkpoint
from pruning.saved.replaying import check_fit, check_masks, read_record

PRUNED = 0.3  # of the progress, where a recovery follows, which takes longer


def prune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    calibration: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    undoable: bool = True,
    plan: Plan | None = None,
    checkpoint: Checkpoint | None = None,
    activations: Path | None = None,
    device: torch.device | None = None,
    computed: torch.dtype | None = None,
) -> Report:
    """Prunes `model` in place and reports what was done.

    `calibration` is a list of texts, or None for what `config.calibration` names. If the run fails or is cancelled
    (by `Cancelled` from `progress`) the model is left as it was: for that a copy of every changed weight is kept on
    the CPU until the end. `undoable=False` saves that memory, for a caller who drops the model then.

    `plan` is one made before for this model; masks that it records must come out the same. With a `checkpoint`
    finished blocks are kept, and put back if they are there already; it is for a caller who drops a failed model.
    `activations` is a folder where hidden states wait between blocks (None: in memory), `device` where blocks are
    computed one at a time (None: where the model is). `computed` is the dtype that is computed in (None: the model's);
    the model has its own again afterwards, and every weight that was not changed its bits.

    Raises RequestError if the settings do not fit this model, EspalierError if the dense model is damaged, a weight or
    statistic is not finite, or memory is short.
    """
    began = time.perf_counter()
    progress = progress or silent
    before = count_parameters(model)
    config = config.settled(before)
    with opened(model, tokenizer, config, calibration, progress, checkpoint, activations, device, computed) as job:
        if plan:
            check_fit(plan, job.anatomy)
        job.undo_steps = [] if undoable and checkpoint is None else None
        structure = find("structure", config.structure).implementation()
        recovery = Recovery(job)
        try:
            recovery.begin()
            done = structure.apply(job, plan or _plan(job, checkpoint, structure.plan))
            if plan:
                check_masks(plan, done)
            recovered = recovery.run(part(progress, PRUNED, 0.99)) if done.dropped else ()
            progress(1.0, "Pruned")
        except BaseException:
            job.undo()
            raise
    return Report(
        config=config,
        plan=done,
        before=before,
        after=count_parameters(model),
        calibration=_calibration(job.windows_used),
        dense_perplexity=job.dense_perplexity,
        seconds=time.perf_counter() - began,
        warnings=_warnings(job, done),
        recovery=recovered,
    )


def preview(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    calibration: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    activations: Path | None = None,
    device: torch.device | None = None,
    computed: torch.dtype | None = None,
) -> Plan:
    """What `prune` would take out; the model is not changed. Arguments and errors as in `prune`."""
    progress = progress or silent
    config = config.settled(count_parameters(model))
    with opened(model, tokenizer, config, calibration, progress, None, activations, device, computed) as job:
        Recovery(job)  # refuses what it cannot do
        return find("structure", config.structure).implementation().plan(job)


def try_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    calibration: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    device: torch.device | None = None,
    computed: torch.dtype | None = None,
) -> None:
    """Reads the calibration text and tries the dense model on it, as `prune` begins. Arguments and errors as there."""
    with opened(model, tokenizer, config, calibration, progress or silent, device=device, computed=computed) as job:
        job.read_windows()


def replay(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    record: dict,
    calibration: Sequence[str] | None = None,
    progress: Progress | None = None,
    **options,
) -> Report:
    """Prunes a fresh copy of the dense model in place by a stored plan, to the same weights.

    `record` is what `prune --dry-run --json` printed, a `pruning.json`, or a report's `as_dict()`. The other arguments
    are those of `prune`. Raises RequestError if the plan was made for another model, EspalierError if the masks come
    out otherwise than recorded; the model is then left as it was.
    """
    config, plan = read_record(record)
    return prune(model, tokenizer, config, calibration, progress, plan=plan, **options)


@contextmanager
def opened(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    calibration: Sequence[str] | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    activations: Path | None = None,
    device: torch.device | None = None,
    computed: torch.dtype | None = None,
    windows: Windows | None = None,
) -> Iterator[Job]:
    """A job and its guards; `windows` are those of the calibration text if they were cut already."""

    def read() -> tuple[Windows, float]:
        shown = part(progress, 0.0, 0.05)
        cut = windows or calibration_windows(model, tokenizer, config, calibration, shown)
        return cut, dense_perplexity(job, cut, part(progress, 0.05, 0.1))

    def read_windows() -> Windows:
        windows, job.dense_perplexity = checkpoint.windows(read) if checkpoint else read()
        return windows

    job = Job(
        model=model,
        anatomy=find_anatomy(model),
        config=config,
        read_windows=read_windows,
        progress=part(progress, 0.1, 0.99 if config.recover == "none" else PRUNED),
        checkpoint=checkpoint,
        activations=activations,
        device=device,
    )
    with (
        memory_advice(device or next(model.parameters()).device),
        exact_matmul(),
        computing_in(model, computed) as job.stored,
    ):
        yield job


def _plan(job: Job, checkpoint: Checkpoint | None, make: Callable[[Job], Plan]) -> Plan:
    return checkpoint.plan(lambda: make(job), job.warnings) if checkpoint else make(job)


def _calibration(windows: Windows | None) -> dict | None:
    if windows is None:
        return None
    return windows.as_dict() | {"sketch": sketch(windows).as_dict()}


def _warnings(job: Job, plan: Plan) -> tuple[str, ...]:
    warnings = [*(job.windows_used.warnings if job.windows_used else ()), *job.warnings]
    warnings += [f"{entry.name}: {warning}" for entry in plan.projections for warning in entry.warnings]
    dead = [(entry.name, entry.dead_inputs) for entry in plan.projections if entry.dead_inputs]
    if dead:
        warnings.append(
            f"{sum(count for _, count in dead)} input channels of {len(dead)} projections (such as {dead[0][0]}) were "
            "zero on every calibration token: their weights went first."
        )
    experts = {
        entry.name.rpartition(".")[0]: entry.tokens for entry in plan.projections if entry.role in EXPERT_ROLES.values()
    }
    if unreached := [name for name, tokens in experts.items() if tokens == 0]:
        warnings.append(
            f"No calibration token reached {len(unreached)} of {len(experts)} experts (such as {unreached[0]}): they were "
            "pruned by their weights alone; use more --samples or other text."
        )
    return tuple(warnings)
