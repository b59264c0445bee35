"""Token ids in files of bounded size, each with its SHA-256, read as one memory-mapped stream."""

import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from models.errors import RequestError
from models.storage.files import new_file, sha256

SHARD_TOKENS = 1 << 24  # 32 MiB of 16-bit ids


def token_type(vocabulary: int) -> str:
    """The smallest little-endian type that holds every id: `<u2` to 65,536 entries, else `<u4`."""
    return "<u2" if vocabulary <= 1 << 16 else "<u4"


def write_shard(path: Path, parts: Iterable[np.ndarray], dtype: str) -> dict:
    """Writes the ids to a file, whole or not at all, and returns its entry in the manifest: file, tokens, sha256."""
    tokens = 0
    with new_file(path) as temporary:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part.astype(dtype).tobytes())
                tokens += len(part)
        digest = sha256(temporary)
    return {"file": path.name, "tokens": tokens, "sha256": digest}


class TokenStream:
    """The tokens of all shards one after the other, memory-mapped; slices are arrays of the stored type.

    Reads every byte once to compare the checksums (`entries` are those of `write_shard`). Raises RequestError if a
    file is missing, of another length, or changed.
    """

    def __init__(self, folder: Path, entries: Sequence[dict], dtype: str):
        self.dtype = np.dtype(dtype)
        self.shards = [_opened(Path(folder) / entry["file"], entry, self.dtype) for entry in entries]
        self.ends = list(accumulate(len(shard) for shard in self.shards))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, place: slice) -> np.ndarray:
        start, stop, step = place.indices(len(self))
        if step != 1:
            raise ValueError("Tokens are read in their order: a slice with a step is not supported.")
        parts = []
        for index in range(bisect.bisect_right(self.ends, start), len(self.shards)):
            begin = self.ends[index] - len(self.shards[index])
            if begin >= stop:
                break
            parts.append(self.shards[index][max(start - begin, 0) : stop - begin])
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)


def _opened(path: Path, entry: dict, dtype: np.dtype) -> np.ndarray:
    size = entry["tokens"] * dtype.itemsize
    if not path.is_file() or path.stat().st_size != size:
        raise RequestError(f"{path} is missing or has not the {size} bytes of its manifest: build the corpus again.")
    if sha256(path) != entry["sha256"]:
        raise RequestError(f"{path} has changed: its SHA-256 is not the manifest's. Build the corpus again.")
    return np.memmap(path, dtype, "r")
