"""A text file of the user's own."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from models.errors import RequestError
from pruning.calibration import Request
from pruning.registry import register

SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")


@register("calibration", "FILE")
class File:
    """A file of yours: .txt, or .jsonl with a "text" field on every line; either may be .gz.

    A .txt file is one document, a .jsonl file one per line.
    """

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` means a file: it exists, or looks like one."""
        return Path(name).expanduser().exists() or name.lower().endswith(SUFFIXES)

    def documents(self, request: Request) -> Iterator[str]:
        """The documents. RequestError if the file is missing, of another kind, damaged or not UTF-8."""
        path = Path(request.name).expanduser()
        if not path.is_file():
            raise RequestError(f"There is no calibration file {path}: check the path.")
        if not path.name.lower().endswith(SUFFIXES):
            raise RequestError(f"{path} is not a calibration file: use one of {', '.join(SUFFIXES)}.")
        packed = path.name.lower().endswith(".gz")
        kind = path.name.lower().removesuffix(".gz")
        try:
            with gzip.open(path, "rt", encoding="utf-8") if packed else open(path, encoding="utf-8") as stream:
                yield from self._lines(path, stream) if kind.endswith(".jsonl") else [stream.read()]
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            raise RequestError(f"{path} cannot be read as UTF-8 text ({error}): use another file.") from None

    def _lines(self, path: Path, stream: TextIO) -> Iterator[str]:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError):
                text = None
            if not isinstance(text, str):
                raise RequestError(f'{path}, line {number}: no JSON object with a "text" field: mend or drop it.')
            yield text
