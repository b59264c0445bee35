"""What the stages of a run share: checked before the model is loaded, and frozen once it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from models import Loaded
from models.errors import RequestError
from models.policy import choose_device
from pruning.dense import load_dense
from pruning.running.recipe import Recipe
from pruning.saved.checkpoint import Checkpoint, refuse_begun, try_out
from pruning.saved.identity import calibration_identity, check_finished, identity
from pruning.saved.record import finished_record

if TYPE_CHECKING:
    import torch

    from pruning.plan import Plan


@dataclass(frozen=True)
class Machine:
    """Where a run computes and in what: see `models.load` for device and dtype.

    offload: the model stays in main memory and one block at a time is on the GPU. activations: "cpu" or "disk", where
    hidden states wait between blocks; on the disk, only a run that writes a folder can have them.
    """

    device: str = "auto"
    dtype: str = "auto"
    offload: bool = False
    activations: str = "cpu"


@dataclass(frozen=True)
class Session:
    """One run: the recipe, the model it is about, where it computes, and what is kept of it meanwhile.

    `computed` is the dtype that is computed in (None: the model's), `identity` all that the result depends on,
    `finished` the record of a result that is there already, with which nothing is left to do.
    """

    recipe: Recipe
    loaded: Loaded
    machine: Machine
    device: torch.device | None
    computed: torch.dtype | None
    plan: Plan | None = None
    out: Path | None = None
    identity: dict = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    finished: dict | None = None

    @property
    def activations(self) -> Path | None:
        """The folder that hidden states wait in; None for memory."""
        on_disk = self.machine.activations == "disk" and self.checkpoint is not None
        return self.checkpoint.folder if on_disk else None


def open_session(
    recipe: Recipe,
    source: str | Loaded,
    out: Path | str | None,
    machine: Machine,
    plan: Plan | None,
    resume: bool,
    made_of: dict | None,
    dry: bool = False,
) -> Session:
    """The session of a run. What can be refused is refused before the model is loaded.

    `source` is a MODEL, or one in memory, which is then changed in place. With `made_of`, which takes the place of what
    the run finds that its result depends on, it keeps nothing to go on with: for a caller who keeps that itself. A `dry`
    run writes nothing, and may lack an `out`.
    """
    if isinstance(source, Loaded):
        return Session(recipe, source, machine, None, None, plan)
    text = calibration_identity(recipe.config, plan)
    record = _check_out(out, resume, dry)
    device = choose_device(machine.device)
    if machine.offload and device.type == "cpu":
        raise RequestError("--offload needs a GPU: none was found. Omit it.")
    loaded, computed = load_dense(source, machine.device, machine.dtype, "cpu" if machine.offload else None)
    made = made_of or identity(recipe.config, plan, loaded.description, device, text, computed)
    whole = made if made_of else made | {"packed": None if recipe.pack is None else str(recipe.pack)}
    if record is not None:
        check_finished(out, record, whole)
    keeps = out is not None and made_of is None and record is None and (resume or not dry)
    checkpoint = Checkpoint(out, made) if keeps else None
    folder = None if out is None else Path(out)
    return Session(recipe, loaded, machine, device, computed, plan, folder, whole, checkpoint, record)


def _check_out(out: Path | str | None, resume: bool, dry: bool) -> dict | None:
    """RequestError unless the result can be written; the record of one that is there already, to go on with."""
    if out is None:
        if dry:
            return None
        raise RequestError("A run needs --out DIR, the folder to write (or --dry-run to only look).")
    if resume and (record := finished_record(out)) is not None:
        return record
    try_out(out)
    if not resume:
        refuse_begun(out)
    return None
