"""A budget in place of a sparsity: how large the pruned model may be, in parameters or in bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.console.units import format_bytes, format_count
from models.errors import RequestError

if TYPE_CHECKING:
    from pruning.anatomy.census import Census

FORM = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmbg]?)(i?b)?\s*", re.IGNORECASE)
THOUSANDS = {"": 0, "k": 1, "m": 2, "b": 3, "g": 3}


@dataclass(frozen=True)
class Budget:
    """At most `amount` parameters that are not zero, or `amount` bytes, of the whole model, embeddings included.

    Bytes are those of the packed model: of every prunable weight one bit, and the values that are not zero.
    """

    amount: int
    in_bytes: bool

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`3.5M` or `1.2B` parameters; `900KB`, `9MB`, `9MiB` or `2GiB`. RequestError for anything else."""
        match = FORM.fullmatch(text) if isinstance(text, str) else None
        number, prefix, unit = match.groups(default="") if match else ("", "", "")
        unit, prefix = unit.lower(), prefix.lower()
        bytes_ = bool(unit)
        # `b` alone counts parameters; `g` only bytes, and `i` only with a prefix.
        if not match or (bytes_ and prefix == "b") or (not bytes_ and prefix == "g") or (unit == "ib" and not prefix):
            raise RequestError(
                f"The budget {text!r} is not a size: give parameters, such as 3.5M, or bytes, such as 9MiB or 900MB."
            )
        amount = round(float(number) * (1024 if unit == "ib" else 1000) ** THOUSANDS[prefix])
        return cls(amount, bytes_)

    def __str__(self) -> str:
        return format_bytes(self.amount) if self.in_bytes else f"{format_count(self.amount)} parameters"

    def sparsity(self, dense: Census) -> float:
        """The fraction of the prunable weights that has to go. RequestError if that is none or all."""
        whole, size, masks = (
            (dense.bytes, dense.prunable_bytes, -(-dense.prunable // 8))
            if self.in_bytes
            else (dense.parameters, dense.prunable, 0)
        )
        least = whole - size + masks
        if self.amount >= whole:
            raise RequestError(f"The dense model is within the budget of {self} already: there is nothing to prune.")
        fraction = 1 - (self.amount - least) / size
        if fraction >= 1:
            shown = format_bytes(least) if self.in_bytes else f"{format_count(least)} parameters"
            raise RequestError(
                f"The budget of {self} cannot be met: {shown} are never pruned (embeddings, norms, the masks of packed "
                "weights). Give more, or choose a smaller model."
            )
        return fraction
