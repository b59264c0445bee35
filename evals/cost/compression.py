"""How small a general compressor makes the weight files: what a sparse file format would have to beat.

Zstandard (the package `zstandard`) at level 3; where it is not installed zlib at level 6, and the result says which.
The files are read as a stream, each on its own.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.console.progress import Progress, silent

CHUNK = 1 << 20
ZSTD_LEVEL, ZLIB_LEVEL = 3, 6


@dataclass(frozen=True)
class Compressed:
    """Bytes after compression, and by what: `zstd 3` or `zlib 6`."""

    bytes: int
    compressor: str


def compressed_bytes(files: Iterable[Path], progress: Progress | None = None) -> Compressed:
    """Compresses the files, keeping nothing but the count of bytes."""
    report, files = progress or silent, list(files)
    total = max(1, sum(file.stat().st_size for file in files))
    read = size = 0
    for file in files:
        name, compressor = _compressor()
        with open(file, "rb") as stream:
            while chunk := stream.read(CHUNK):
                size += len(compressor.compress(chunk))
                read += len(chunk)
                report(read / total, f"{file.name}: size compressed with {name}")
        size += len(compressor.flush())
    return Compressed(size, _compressor()[0])


def _compressor() -> tuple[str, Any]:
    try:
        import zstandard

        return f"zstd {ZSTD_LEVEL}", zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    except ImportError:
        return f"zlib {ZLIB_LEVEL}", zlib.compressobj(ZLIB_LEVEL)
