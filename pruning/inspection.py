"""What a model folder holds, read from its tensors: zeros per projection, and blocks, whoever pruned it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from models import load
from models.errors import RequestError
from models.files import read_json
from models.loading import check_folder
from models.source import locate
from models.weights import tensor_headers
from pruning.census import Census, count_nonzero, take_census
from pruning.roles import find_anatomy
from pruning.saving import RECORD

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
    """What the files of a model hold, and what `pruning.json` beside them says (None where there is none).

    agrees: whether the record's zeros and blocks are those of the files; None without a record.
    """

    model: str
    family: str
    blocks: int
    census: Census
    projections: tuple[Found, ...]
    record: dict | None
    agrees: bool | None

    @property
    def removed_blocks(self) -> list[int]:
        """The blocks of the dense model that are not there, as the record names them."""
        return self.record["plan"]["blocks"]["removed"] if self.record and self.record["plan"]["blocks"] else []

    def as_dict(self) -> dict:
        """The inspection as JSON types; of the record only what was asked for and of which model."""
        value = asdict(self)
        value["projections"] = list(value["projections"])
        value["sparsity"] = self.census.sparsity
        value["removed_blocks"] = self.removed_blocks
        value["record"] = self.record and {name: self.record[name] for name in ("created", "dense", "config", "note")}
        return value


def inspect(name: str) -> Inspection:
    """Reads MODEL's tensors, in the dtype they are stored in, and counts. Errors as in `models.load`."""
    source = locate(name)
    check_folder(source)
    loaded = load(name, device="cpu", dtype=_stored_dtype(source.folder, name))
    anatomy = find_anatomy(loaded.model)
    found = tuple(_count(projection) for projection in anatomy.projections)
    record = _read_record(source.folder / RECORD)
    return Inspection(
        model=name,
        family=loaded.description.family,
        blocks=len(anatomy.blocks),
        census=take_census(loaded.model),
        projections=found,
        record=record,
        agrees=None if record is None else _agrees(record, len(anatomy.blocks), found),
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


def _count(projection) -> Found:
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


def _read_record(path: Path) -> dict | None:
    if not path.exists():
        return None
    record = read_json(path)
    missing = {"created", "dense", "config", "note", "plan"} - set(record if isinstance(record, dict) else ())
    if missing:
        lacks = ", ".join(sorted(missing))
        raise RequestError(f"{path} is no record of a pruning (it lacks {lacks}): remove it to go on.")
    return record


def _stored_dtype(folder: Path, name: str) -> str:
    sizes: dict[str, int] = {}
    for header in tensor_headers(folder, name):
        sizes[header.dtype] = sizes.get(header.dtype, 0) + header.elements
    return DTYPES.get(max(sizes, key=sizes.get), "auto")
