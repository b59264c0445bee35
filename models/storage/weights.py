"""What the safetensors files of a folder hold, read from their headers alone: no weight is touched."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

from models.errors import RequestError
from models.storage.reading import is_there, parse_object, reading

ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}


@dataclass(frozen=True)
class TensorHeader:
    """One tensor of a file: its name, dtype (safetensors' name for it), shape, and the bytes from `begin` to `end`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int

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
    """The safetensors files of a model folder, shards in order; those of an adapter are none of its.

    Raises RequestError if there are none, or if the index is damaged or names a shard that is missing.
    """
    index = folder / "model.safetensors.index.json"
    if is_there(index):
        shards = _shards(index)
        missing = [shard for shard in shards if not is_there(folder / shard)]
        if missing:
            raise RequestError(
                f"{name} lacks {len(missing)} of {len(shards)} weight files ({missing[0]}): fetch it again."
            )
        return [folder / shard for shard in shards]
    files = sorted(file for file in folder.glob("*.safetensors") if not file.name.startswith("adapter_"))
    if not files:
        with reading(folder):
            refuse_without_safetensors(name, sorted(file.name for file in folder.iterdir()))
    single = folder / "model.safetensors"
    return [single] if single in files else files


def tensor_headers(folder: Path, name: str) -> Iterator[TensorHeader]:
    """Every tensor of the folder's weight files. Errors as in `weight_files` and `file_headers`."""
    for file in weight_files(folder, name):
        yield from file_headers(file)


def file_headers(file: Path) -> Iterator[TensorHeader]:
    """Every tensor of a safetensors file. RequestError if the file cannot be read, is cut off or not safetensors."""
    with reading(file):
        size = file.stat().st_size
        with open(file, "rb") as stream:
            prefix = stream.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            text = stream.read(length) if 8 + length <= size else b""
    try:
        header = json.loads(text)
        about = header.pop("__metadata__", None)
        headers = [_header(file, 8 + length, *item) for item in header.items()]
        whole = (about is None or isinstance(about, dict)) and _fill(headers, 8 + length, size)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise RequestError(f"{file} is damaged or cut off ({size} bytes): fetch or save the model again.")
    yield from headers


def _shards(index: Path) -> list[str]:
    files = parse_object(index).get("weight_map")
    names = set(files.values()) if isinstance(files, dict) and all(map(_is_name, files.values())) else set()
    if not names:
        raise RequestError(
            f"{index} is damaged (its weight_map must name a file for each tensor): fetch or save the model again."
        )
    return sorted(names)


def _is_name(value: object) -> bool:
    """Whether a value is the name of a file in the same folder: an index must not lead anywhere else."""
    return isinstance(value, str) and value == Path(value).name != ""


def _header(file: Path, data: int, name: str, entry: dict) -> TensorHeader:
    """One entry of a header. Raises what a malformed one raises: TypeError, ValueError, AttributeError, KeyError."""
    begin, end = entry["data_offsets"]
    numbers = (begin, end, *entry["shape"])
    if not isinstance(entry["dtype"], str) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(name)
    header = TensorHeader(name, entry["dtype"], tuple(entry["shape"]), file, data + begin, data + end)
    if header.dtype in ITEM_BYTES and header.bytes != end - begin:
        raise ValueError(name)
    return header


def _fill(headers: list[TensorHeader], begin: int, end: int) -> bool:
    """Whether the tensors fill these bytes of a file without gap or overlap."""
    places = [(begin, begin), *sorted((header.begin, header.end) for header in headers), (end, end)]
    return all(before[1] == after[0] for before, after in pairwise(places))


def refuse_without_safetensors(model: str, names: list[str]) -> None:
    """Raises the RequestError for a folder or repository that holds no safetensors."""
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickles:
        raise RequestError(
            f"{model} holds its weights only as pickle files ({pickles[0]}), which can run code when opened: "
            "use a safetensors version of it, or convert it where you trust it."
        )
    raise RequestError(f"{model} holds no .safetensors file: it is not a saved model, or it was saved only in part.")
