"""The texts that ship with Espalier."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pruning.calibration import Request
from pruning.registry import register

FOLDER = Path(__file__).parent / "texts"


@register("calibration", "embedded")
class Embedded:
    """The short English texts that ship with Espalier: no network, no file needed."""

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` means this source."""
        return name == "embedded"

    @staticmethod
    def identity(name: str) -> str:
        """SHA-256 of the texts, in hex: another version of Espalier may bring others."""
        return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(FOLDER.glob("*.txt")))).hexdigest()

    def documents(self, request: Request) -> Iterator[str]:
        """The texts; a line of three equals signs stands between two documents of a file."""
        for file in sorted(FOLDER.glob("*.txt")):
            yield from file.read_text(encoding="utf-8").split("\n===\n")
