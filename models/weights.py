"""What the safetensors files of a folder hold, read from their headers alone: no weight is touched."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from models.errors import RequestError
from models.source import refuse_without_safetensors

ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}


@dataclass(frozen=True)
class TensorHeader:
    """One tensor of a file: its name, dtype (safetensors' name for it), shape, and the byte where it begins."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in the file. KeyError for a dtype that is not known."""
        return self.elements * ITEM_BYTES[self.dtype]

    def bytes_as(self, item_bytes: int) -> int:
        """Bytes once loaded with floats of `item_bytes`; integers keep their own size."""
        return self.elements * (item_bytes if self.dtype in FLOATS else ITEM_BYTES.get(self.dtype, 4))


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files of a model folder, shards in order.

    Raises RequestError if there are none, or if the index names a shard that is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            raise RequestError(f"{index} is damaged: fetch or save the model again.") from None
        missing = [shard for shard in shards if not (folder / shard).exists()]
        if missing:
            raise RequestError(
                f"{name} lacks {len(missing)} of {len(shards)} weight files ({missing[0]}): fetch it again."
            )
        return [folder / shard for shard in shards]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        refuse_without_safetensors(name, sorted(file.name for file in folder.iterdir()))
    single = folder / "model.safetensors"
    return [single] if single in files else files


def tensor_headers(folder: Path, name: str) -> Iterator[TensorHeader]:
    """Every tensor of the folder's weight files. Raises RequestError if a file is cut off or not safetensors."""
    for file in weight_files(folder, name):
        size = file.stat().st_size
        damaged = RequestError(f"{file} is damaged or cut off ({size} bytes): fetch or save the model again.")
        with open(file, "rb") as stream:
            prefix = stream.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            if 8 + length > size:
                raise damaged
            try:
                header = json.loads(stream.read(length))
            except ValueError:
                raise damaged from None
        header.pop("__metadata__", None)
        if 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0) != size:
            raise damaged
        for key, entry in header.items():
            yield TensorHeader(key, entry["dtype"], tuple(entry["shape"]), file, 8 + length + entry["data_offsets"][0])
