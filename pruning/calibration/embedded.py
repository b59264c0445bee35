"""The texts that ship with Espalier."""

import hashlib
from collections.abc import Iterator, Sequence

from models.errors import RequestError
from models.text.dialogues import Dialogue
from pruning.calibrating.mixture import Stream, mixed, part_names, streams
from pruning.calibration import Request
from pruning.registry import register

NAME = "embedded"


@register("calibration", NAME)
class Embedded:
    """The English texts that ship with Espalier, all parts or some (embedded:prose,code): no network, no file needed."""

    even = True
    takes_columns = False

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` means this source. RequestError for parts that there are not."""
        if name != NAME and not name.startswith(f"{NAME}:"):
            return False
        _chosen(name)
        return True

    @staticmethod
    def identity(name: str, columns: Sequence[str] | None = None) -> str:
        """SHA-256 of the texts of the parts, in hex: another version of Espalier may bring others."""
        return hashlib.sha256("".join(stream.sha256 for stream in _chosen(name)).encode()).hexdigest()

    def documents(self, request: Request) -> Iterator[str | Dialogue]:
        """The texts and conversations of the parts, mixed (see `mixture.mixed`), read as they are asked for."""
        return mixed(_chosen(request.name))


def _chosen(name: str) -> tuple[Stream, ...]:
    _, colon, words = name.partition(":")
    if not colon:
        return streams()
    parts, known = [word.strip() for word in words.split(",")], part_names()
    for part in parts:
        if part not in known:
            raise RequestError(f"The embedded texts have no part {part!r}: name some of {', '.join(known)}.")
    return tuple(stream for stream in streams() if stream.part in parts)
