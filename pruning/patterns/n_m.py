"""N:M sparsity: N weights kept of every M consecutive inputs, the form that sparse hardware reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import RequestError
from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("pattern", "N:M", examples=("2:4", "4:8", "1:4", "2:4:permuted"))
@dataclass(frozen=True)
class NM:
    """N kept of every M consecutive inputs, such as 2:4; fixes the sparsity at 1 - N/M. Inputs may be permuted first.

    `permuted`: input channels are first put into an order that suits it, where the model can compute the same with
    another order (`pruning.numerics.permutation`). Mishra et al., "Accelerating Sparse Deep Neural Networks" (2021), section 2.
    """

    kept: int
    of: int
    permuted: bool = False
    across_layers = False

    @classmethod
    def parse(cls, text: str) -> NM | None:
        """`2:4` or `2:4:permuted` as a pattern, None for anything not of this form. RequestError unless 1 <= N <= M."""
        match = re.fullmatch(r"(\d+):(\d+)(:permuted)?", text)
        if match is None:
            return None
        kept, of = int(match[1]), int(match[2])
        if not 1 <= kept <= of:
            raise RequestError(f"The pattern {text} keeps {kept} of every {of}: N:M needs 1 <= N <= M, such as 2:4.")
        return cls(kept, of, bool(match[3]))

    @property
    def implied_sparsity(self) -> float:
        """1 - N/M."""
        return 1 - self.kept / self.of

    def misfit(self, rows: int, columns: int) -> str | None:
        """Why it cannot lie on rows of `columns` inputs, if it cannot."""
        return f"{columns} inputs are no multiple of {self.of}" if columns % self.of else None

    def dropped(self, rows: int, columns: int, sparsity: float, group: str) -> int:
        """M - N of every M; `sparsity` and `group` have no say."""
        return rows * columns // self.of * (self.of - self.kept)

    def keep(self, scores: Tensor, sparsity: float, group: str) -> Tensor:
        """The mask [R, C], True where the weight stays, for `scores` [R, C]."""
        from pruning.numerics.selection import keep_highest

        return keep_highest(scores.reshape(-1, self.of), self.of - self.kept).reshape(scores.shape)

    def rule(self, rows: int, columns: int, sparsity: float, group: str) -> str:
        """The rule in words."""
        return f"the {self.of - self.kept} lowest of every {self.of} consecutive inputs"
