"""What is done of a run, kept beside the folder it will write, so that a killed run goes on where it stopped.

`DIR.partial` holds run.json (the settings, the dense model and the libraries), the calibration windows, the plan, and
one file for every finished block. Each is written whole or not at all, so whatever is there is true.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from models.console.differences import differences
from models.errors import EspalierError, RequestError
from models.storage.destination import try_folder
from models.storage.files import TEMPORARY, clear_leftovers, new_file, read_json, real_path, write_json
from pruning.anatomy.roles import Projection
from pruning.calibrating.windows import Windows
from pruning.collect.blockwise import Batch
from pruning.plan import Plan, ProjectionPlan

RUN, WINDOWS, PLAN = "run.json", "windows.safetensors", "plan.json"


def partial_folder(out: Path | str) -> Path:
    """Where the unfinished run that will write `out` keeps what is done."""
    out = real_path(out)
    return out.with_name(f"{out.name}.partial")


def refuse_begun(out: Path | str) -> None:
    """Raises RequestError if an unfinished run for `out` is there."""
    folder = partial_folder(out)
    if os.path.lexists(folder):
        _refuse_other(folder)
        raise RequestError(
            f"{folder} keeps a run that was begun and not finished: add --resume to go on with it, or remove that "
            "folder."
        )


def try_out(out: Path | str) -> None:
    """RequestError unless a run can write `out`, and beside it what it keeps meanwhile."""
    try_folder(out)
    folder = partial_folder(out)
    if not os.path.lexists(folder):
        try_folder(folder)


def _refuse_other(folder: Path) -> None:
    """RequestError if what has the name of an unfinished run is not one."""
    if not folder.is_dir() or (
        not (folder / RUN).exists() and any(not name.match(TEMPORARY) for name in folder.iterdir())
    ):
        raise RequestError(
            f"{folder} is not an unfinished run of Espalier: move it away, or choose another folder for the result."
        )


class Checkpoint:
    """The finished part of one run, in a folder that is made when there is something to keep.

    Raises RequestError if the folder holds anything else than a run of the same `identity`.
    """

    def __init__(self, out: Path | str, identity: dict):
        self._out = Path(out)
        self.folder = partial_folder(out)
        self._identity = identity
        self._check()

    def windows(self, read: Callable[[], tuple[Windows, float]]) -> tuple[Windows, float]:
        """The calibration windows and the dense model's perplexity on them, read only the first time."""
        file = self.folder / WINDOWS
        if file.exists():
            tensors, fields = _load(file)
            perplexity = fields.pop("perplexity")
            count = len(tensors) // 2
            batches = tuple(Batch(tensors[f"ids.{number}"], tensors[f"mask.{number}"]) for number in range(count))
            return Windows(batches=batches, **fields), perplexity
        windows, perplexity = read()
        fields = {field.name: getattr(windows, field.name) for field in dataclasses.fields(windows)}
        batches = fields.pop("batches")
        tensors = {f"ids.{number}": batch.ids for number, batch in enumerate(batches)}
        tensors |= {f"mask.{number}": batch.mask for number, batch in enumerate(batches)}
        self._save(file, tensors, fields | {"perplexity": perplexity})
        return windows, perplexity

    def plan(self, make: Callable[[], Plan], warnings: list[str]) -> Plan:
        """The plan, made only the first time; what `make` adds to `warnings` is kept with it."""
        file = self.folder / PLAN
        if file.exists():
            kept = read_json(file)
            warnings += kept["warnings"]
            return Plan.from_dict(kept["plan"])
        plan = make()
        self._begin()
        write_json(file, {"plan": plan.as_dict(), "warnings": warnings})
        return plan

    @torch.no_grad()
    def restore(self, index: int, projections: Sequence[Projection]) -> list[ProjectionPlan] | None:
        """Puts back the weights of a finished block and returns its plan; None if it is not finished."""
        file = self._block(index)
        if not file.exists():
            return None
        tensors, kept = _load(file)
        for projection in projections:
            projection.weight.copy_(tensors[projection.name])
        return [ProjectionPlan.from_dict(entry) for entry in kept["entries"]]

    def store(self, projections: Sequence[Projection], entries: Sequence[ProjectionPlan]) -> None:
        """Keeps a finished block."""
        weights = {projection.name: projection.weight for projection in projections}
        self._save(self._block(projections[0].block), weights, {"entries": [entry.as_dict() for entry in entries]})

    def discard_unless_useful(self) -> bool:
        """Removes the folder if nothing of weight is done, so that other settings can be tried; whether it is there.

        Of weight is a finished block, or the choice of whole blocks, which is all the work there.
        """
        file = self.folder / PLAN
        chosen = file.exists() and read_json(file)["plan"].get("blocks") is not None
        if not chosen and not any(self.folder.glob("block-*")):
            self.close()
        return self.folder.exists()

    def close(self) -> None:
        """Removes the folder: the result has its name."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def clear(out: Path | str) -> None:
        """Removes what a process left beside the finished folder `out` that was killed right after naming it."""
        folder = partial_folder(out)
        if (folder / RUN).exists():
            shutil.rmtree(folder)

    def _check(self) -> None:
        if not os.path.lexists(self.folder):
            return
        clear_leftovers(self._out)
        _refuse_other(self.folder)
        file = self.folder / RUN
        if not file.exists():
            return
        if others := differences(read_json(file), self._identity):
            raise RequestError(f"{self.folder} was begun otherwise ({others}): repeat that run, or remove the folder.")

    def _begin(self) -> None:
        if not (self.folder / RUN).exists():
            write_json(self.folder / RUN, self._identity)

    def _block(self, index: int) -> Path:
        return self.folder / f"block-{index:04d}.safetensors"

    def _save(self, file: Path, tensors: dict[str, torch.Tensor], record: dict) -> None:
        self._begin()
        with new_file(file) as temporary:
            contiguous = {name: tensor.to("cpu").contiguous() for name, tensor in tensors.items()}
            save_file(contiguous, temporary, metadata={"record": json.dumps(record)})


def _load(file: Path) -> tuple[dict[str, torch.Tensor], dict]:
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
            return tensors, json.loads(stored.metadata()["record"])
    except SafetensorError as error:
        raise EspalierError(f"{file} is damaged ({error}): remove {file.parent} and begin again.") from error
