"""What a model is made of, and what its tensors hold: zeros per projection, and blocks, whoever pruned it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from models import load
from models.counting import count_nonzero
from models.formats.checking import check_folder
from models.memory import OutOfMemory
from models.source import locate
from models.storage.weights import tensor_headers
from pruning.anatomy.capability import Capability, skeleton, take_capability
from pruning.anatomy.census import Census, count_parameters
from pruning.anatomy.roles import Projection, find_anatomy
from pruning.packing.install import is_packed, unpack
from pruning.saved.record import whole_record

DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class Found:
    """What one projection holds: its shape, its zeros, and the N:M pattern they keep, if one of the usual ones."""

    name: str
    block: int
    role: str
    rows: int
    columns: int
    zeros: int
    sparsity: float
    pattern: str | None


@dataclass(frozen=True)
class Inspection:
    """What can be pruned in a model, what its files hold, and what `pruning.json` beside them says.

    Where the weights could not be read, `not_counted` says why, and `census` is None. record: None where there is
    none. agrees: whether the record's zeros and blocks are those of the files; None without either.
    """

    model: str
    family: str
    blocks: int
    capability: Capability
    census: Census | None
    projections: tuple[Found, ...]
    not_counted: str | None
    record: dict | None
    agrees: bool | None

    @property
    def removed_blocks(self) -> list[int]:
        """The blocks of the dense model that are not there, as the record names them."""
        return self.record["plan"]["blocks"]["removed"] if self.record and self.record["plan"]["blocks"] else []

    def as_dict(self) -> dict:
        """The inspection as JSON types; of the record only what was asked for and of which model."""
        value = asdict(self)
        value["capability"] = self.capability.as_dict()
        value["projections"] = list(value["projections"])
        value["sparsity"] = self.census and self.census.sparsity
        value["removed_blocks"] = self.removed_blocks
        value["record"] = self.record and {name: self.record[name] for name in ("created", "dense", "config", "note")}
        return value


def inspect(name: str) -> Inspection:
    """Reports what can be pruned in MODEL, then reads its tensors, in the dtype they are stored in, and counts.

    The report needs only the configuration: it is given, too, for weights that do not fit into memory or are not
    there. Otherwise errors as in `models.load`; UnknownArchitecture, before any weight is read.
    """
    source = locate(name)
    check_folder(source)
    empty = skeleton(source.folder)
    capability = take_capability(empty)
    record = whole_record(source.folder)
    model, not_counted = _load(name, source.folder)
    found = tuple(_count(projection) for projection in find_anatomy(model).projections) if model else ()
    return Inspection(
        model=name,
        family=empty.config.get_text_config().model_type,
        blocks=capability.blocks,
        capability=capability,
        census=count_parameters(model) if model else None,
        projections=found,
        not_counted=not_counted,
        record=record,
        agrees=None if record is None or model is None else _agrees(record, capability.blocks, found),
    )


def keeps_pattern(weight: torch.Tensor) -> str | None:
    """The sparsest N:M, M of 4 or 8 and N at most M/2, that every run of M inputs of `weight` [R, C] keeps."""
    best = None
    for of in (4, 8):
        if weight.shape[1] % of == 0:
            kept = int((weight.reshape(-1, of) != 0).sum(dim=1).max())
            if 2 * kept <= of and (best is None or kept / of < best[0] / best[1]):
                best = kept, of
    return f"{best[0]}:{best[1]}" if best else None


def _load(name: str, folder: Path) -> tuple[nn.Module | None, str | None]:
    """The model on the CPU, or why its weights are not read."""
    if not any(folder.glob("*.safetensors")):
        return None, "the folder holds no safetensors."
    try:
        model = load(name, device="cpu", dtype=stored_dtype(folder, name)).model
        if is_packed(model):
            unpack(model)
        return model, None
    except OutOfMemory as error:
        return None, str(error)


def _count(projection: Projection) -> Found:
    weight = projection.weight
    zeros = weight.numel() - count_nonzero(weight)
    return Found(
        name=projection.name,
        block=projection.block,
        role=projection.role,
        rows=projection.rows,
        columns=projection.columns,
        zeros=zeros,
        sparsity=zeros / weight.numel(),
        pattern=keeps_pattern(weight),
    )


def _agrees(record: dict, blocks: int, found: tuple[Found, ...]) -> bool:
    plan = record["plan"]
    if plan["blocks"] and len(plan["blocks"]["kept"]) != blocks:
        return False
    zeros = {entry.name: entry.zeros for entry in found}
    # At least: a kept weight may have been zero in the dense model already.
    return all(zeros.get(entry["name"], -1) >= entry["dropped"] for entry in plan["projections"])


def stored_dtype(folder: Path, name: str) -> str:
    """The dtype that most of the folder's numbers have; `auto` if it is none that a model is loaded in."""
    sizes: dict[str, int] = {}
    for header in tensor_headers(folder, name):
        sizes[header.dtype] = sizes.get(header.dtype, 0) + header.elements
    return DTYPES.get(max(sizes, key=sizes.get), "auto")
