"""What a person calls a packed format: `bitmask`, `2:4` or `dense`, each also with `:int8` after it; `int8` alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from models.errors import RequestError

FORM = re.compile(r"(?P<kind>auto|bitmask|dense|(?P<keep>\d+):(?P<of>\d+))?(?P<int8>:int8(:(?P<group>\d+))?)?")
WORD = 64  # columns that one word of a mask stands for
GROUPS = (64, 128, 256, 512, 1024)
REMEDY = (
    "use auto, bitmask, dense or N:M (such as 2:4); int8, or one of these with :int8 after it, for 8-bit values with a "
    f"scale for each row; int8:GROUP for one for every GROUP inputs ({', '.join(map(str, GROUPS))})."
)


@dataclass(frozen=True)
class Format:
    """How a matrix is stored.

    kind: "bitmask" (a bit for every weight, and the values kept), "n:m" (the same, with `keep` values in every `of`
    inputs, so that rows need no offsets), "dense" (every value), or "auto": the smallest of these that is lossless.
    int8: values as 8-bit integers, with a scale for each row, or for every `group` inputs (None: the whole row).
    """

    kind: str
    int8: bool = False
    group: int | None = None
    keep: int = 0
    of: int = 0

    @classmethod
    def parse(cls, text: str) -> Format:
        """The format that is written like that. RequestError, with how formats are written, if none is."""
        spelled = f":{text}" if isinstance(text, str) and text.startswith("int8") else text
        match = FORM.fullmatch(spelled) if isinstance(text, str) and text and not text.startswith(":") else None
        if match is None:
            raise RequestError(f"There is no packed format {text!r}: {REMEDY}")
        group = int(match["group"]) if match["group"] else None
        if group is not None and group not in GROUPS:
            raise RequestError(f"Scales for groups of {group} inputs are not supported: {REMEDY}")
        if not match["of"]:
            return cls(match["kind"] or "auto", bool(match["int8"]), group)
        keep, of = int(match["keep"]), int(match["of"])
        if not 0 < keep < of or WORD % of:
            raise RequestError(
                f"The packed format {keep}:{of} is not supported: N must be below M, and M 2, 4, 8, 16, 32 or 64. "
                "The format bitmask takes every pattern."
            )
        return cls("n:m", bool(match["int8"]), group, keep, of)

    def __str__(self) -> str:
        name = f"{self.keep}:{self.of}" if self.kind == "n:m" else self.kind
        values = ("int8" if self.int8 else "") + (f":{self.group}" if self.group else "")
        return values if values and name == "auto" else f"{name}:{values}" if values else name

    def of_kind(self, kind: str) -> Format:
        """The same values in another kind of format (not N:M)."""
        return replace(self, kind=kind, keep=0, of=0)
