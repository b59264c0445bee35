"""The cells of a sweep: every model dense, and pruned by every method at every sparsity, pattern and solver."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from evals.reporting.lineage import USUAL, recipe_name
from models.errors import RequestError
from pruning.config import PruningConfig

DENSE = "dense"


@dataclass(frozen=True)
class Cell:
    """One pruning and its measuring beside the dense model; without a `config` the dense model alone.

    `name` is that of the cell's folder, and what its pruned model is called in all results.
    """

    name: str
    model: str
    config: PruningConfig | None = None

    @property
    def sparsity(self) -> float:
        """The fraction of the prunable weights that goes."""
        return self.config.sparsity if self.config else 0.0

    @property
    def recipe(self) -> str:
        """`wanda, 2:4`: the method and every other setting that is not the usual one."""
        return (recipe_name(self.config.as_dict()) if self.config else None) or DENSE


@dataclass(frozen=True)
class Grid:
    """What is combined with what. Without sparsities each pattern must fix its own.

    `calibration`, its `columns`, `samples`, `sequence_length` and `seed` are those of every pruning (see `pruning.config`).
    """

    methods: Sequence[str]
    sparsities: Sequence[float] = ()
    patterns: Sequence[str] = ("unstructured",)
    solvers: Sequence[str] = ("none",)
    calibration: str = "embedded"
    samples: int | None = None
    sequence_length: int | None = None
    seed: int = 0
    columns: str | None = None

    def cells(self, models: Sequence[str]) -> list[Cell]:
        """All cells, each model's dense one before its others.

        RequestError, naming the cell, for settings that pruning refuses, and for a cell that is asked for twice.
        """
        for option, given in (("--methods", self.methods), ("--patterns", self.patterns), ("--solvers", self.solvers)):
            if not given:
                raise RequestError(f"{option} names nothing: name at least one, or see `python -m pruning methods`.")
        cells = []
        for model in models:
            cells.append(Cell(f"{_safe(model)}_{DENSE}", model))
            axes = itertools.product(self.methods, self.patterns, self.solvers, self.sparsities or (None,))
            cells += [self._cell(model, *point) for point in axes]
        names = [cell.name for cell in cells]
        if twice := [name for name in names if names.count(name) > 1]:
            raise RequestError(f"The cell {twice[0]} is asked for twice: name every model, method and sparsity once.")
        return cells

    def _cell(self, model: str, method: str, pattern: str, solver: str, sparsity: float | None) -> Cell:
        config = self._config(method, pattern, solver, sparsity, _name(model, method, pattern, solver, sparsity))
        return Cell(_name(model, method, pattern, solver, config.sparsity), model, config)

    def _config(self, method: str, pattern: str, solver: str, sparsity: float | None, name: str) -> PruningConfig:
        given = {"samples": self.samples} if self.samples is not None else {}
        try:
            config = PruningConfig(
                method=method, sparsity=sparsity, pattern=pattern, solver=solver, calibration=self.calibration,
                sequence_length=self.sequence_length, seed=self.seed, columns=self.columns, **given,
            )  # fmt: skip
        except RequestError as error:
            raise RequestError(f"{name}: {error}") from error
        if sparsity is None and config.parsed_pattern().implied_sparsity is None:
            raise RequestError(f"{name}: the pattern {pattern} fixes no sparsity; say by --sparsities which.")
        return config


def _name(model: str, method: str, pattern: str, solver: str, sparsity: float | None) -> str:
    """`embedded_wanda_0.5`, with the pattern and the solver where they are not the usual ones."""
    apart = [value for key, value in (("pattern", pattern), ("solver", solver)) if value != USUAL[key]]
    share = [] if sparsity is None else ["nan" if math.isnan(sparsity) else f"{sparsity:g}"]
    return "_".join(map(_safe, [model, method, *apart, *share]))


def _safe(words: str) -> str:
    """A name that a file can have on any system."""
    return re.sub(r"[^\w.@+-]+", "-", words.replace("/", "--"))
