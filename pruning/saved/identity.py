"""What the result of a run depends on, as one record: by it unfinished work is gone on with, and finished work known."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from models.console.differences import differences
from models.errors import RequestError
from models.storage.weights import tensor_headers
from pruning import registry
from pruning.calibration import find_source
from pruning.config import PruningConfig
from pruning.recovering import recoveries
from pruning.report import library_versions

if TYPE_CHECKING:
    import torch

    from models.description import Description
    from pruning.plan import Plan

PACKING = "packing.json"


def identity(
    config: PruningConfig,
    plan: Plan | None,
    dense: Description,
    device: torch.device,
    calibration: str | None,
    computed: torch.dtype | None = None,
) -> dict:
    """All that the pruned weights depend on, as JSON types.

    `plan` is one that the run was given; `calibration` is the text's own identity (see `calibration_identity`);
    `computed` the dtype that is computed in where it is not the dense model's.
    """
    import torch

    return {
        "settings": config.as_dict(),
        "plan": plan and hashlib.sha256(json.dumps(plan.as_dict()).encode()).hexdigest(),
        "dense": {"id": dense.id, "revision": dense.revision, "dtype": dense.dtype},
        "calibration": calibration,
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "threads": torch.get_num_threads(),
            **({"computed": str(computed).removeprefix("torch.")} if computed else {}),
        },
        "versions": library_versions(),
    }


def reads_text(config: PruningConfig, plan: Plan | None = None) -> bool:
    """Whether such a pruning, by a given plan or one of its own, reads calibration text."""
    if plan is not None and plan.blocks is not None:
        return False  # the blocks were chosen by it
    kinds = ("method", "solver") if plan else ("method", "solver", "allocation")
    used = [registry.find(kind, getattr(config, kind)) for kind in kinds] + recoveries(config.recover)
    return any(entry.needs for entry in used)


def calibration_identity(config: PruningConfig, plan: Plan | None = None) -> str | None:
    """What the calibration text is beyond its name; None where none is read, or its name and the model say it all.

    RequestError if it is named and not there: even where it would not be read, unless it only came with a plan.
    """
    reads = reads_text(config, plan)
    if plan is not None and not reads:
        return None
    found = find_source(config.calibration).identity(config.calibration, config.parsed_columns())
    return found if reads else None


def check_finished(out: Path | str, record: dict, asked: dict) -> None:
    """RequestError unless the finished folder `out` is whole, and its `record` has the identity that is `asked` for."""
    known = record.get("identity") if isinstance(record, dict) else None
    if not isinstance(known, dict):
        raise RequestError(
            f"{out} holds a finished result whose pruning.json does not say what it was made of (another program or "
            "version wrote it), so that it may be of another request: choose another folder."
        )
    if others := differences(known, asked):
        raise RequestError(f"{out} holds the finished result of another run ({others}): choose another folder.")
    if (Path(out) / PACKING).exists() != (asked["packed"] is not None):
        raise RequestError(f"{out} was packed or unpacked after it was finished: choose another folder.")
    try:
        list(tensor_headers(Path(out), str(out)))
    except RequestError as error:
        raise RequestError(f"{out} was finished and has been damaged since ({error}): remove it.") from error
