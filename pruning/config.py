"""What a person asks for: the settings of one pruning, checked as soon as they are written down."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from models.errors import RequestError
from models.text.columns import parse_columns
from pruning import registry
from pruning.budget import Budget
from pruning.calibration import find_source
from pruning.patterns import parse
from pruning.recovering import recoveries

if TYPE_CHECKING:
    from pruning.anatomy.census import Census

DEFAULT_METHODS = {"none": "wanda", "layers": "block-influence"}
DEFAULT_SPARSITY = 0.5
PLAIN = (
    ("pattern", "unstructured"),
    ("allocation", "uniform"),
    ("solver", "none"),
    ("schedule", "one-shot"),
    ("budget", None),
    ("recover", "none"),
    ("match", "none"),
)
MATCHES = ("none", "dense")


@dataclass(frozen=True)
class PruningConfig:
    """The settings of one pruning; whatever is None is filled in from the others.

    method: a name of `pruning.registry.entries("method")`; None is the usual one of the structure.
    sparsity: fraction, 0 <= s < 1, of the prunable weights (of the blocks, for structure "layers"). None is 0.5, or
        what the pattern or the budget says.
    pattern: "unstructured" (with ":row", ":layer" or ":global", what is compared), "block:RxC" (rectangles of outputs
        by inputs), or "N:M" (N kept of every M consecutive inputs), which fixes the sparsity at 1 - N/M.
    structure: "none" (single weights) or "layers" (whole blocks); None is the structure the method is for.
    calibration: "embedded" (or some of its parts, "embedded:prose,code"), "self", a text file or a Hub data set; read
        only if the method needs it.
    samples, sequence_length: how many windows of how many tokens; None is the model's context, at most 2048 tokens.
    seed: decides the calibration windows, and nothing else.
    recover: what is done after pruning; several are joined, "reconstruct+distill". recover_minutes: how long all of it
        may take; None is what each makes of the calibration text by itself, the same in every run.
    columns: names, "prefix,completion", of the columns of the calibration text's rows that are joined to a document;
        None is what `models.text.columns` knows.
    match: what a projection aims at: "none", its own outputs on the inputs that pruning left, or "dense", what brings
        the pruned model's stream back to the dense one's (`pruning.adaptation.matching`); for solvers that change weights.
    budget: how large the pruned model may be, as `pruning.budget` reads it, in place of a sparsity: it is met to within
        the rounding of one row in each projection. With both, they must say the same.

    Raises RequestError for a value outside its range, an unknown name, or settings that contradict each other.
    """

    method: str | None = None
    sparsity: float | None = None
    pattern: str = "unstructured"
    structure: str | None = None
    allocation: str = "uniform"
    solver: str = "none"
    schedule: str = "one-shot"
    calibration: str = "embedded"
    samples: int = 128
    sequence_length: int | None = None
    recover: str = "none"
    recover_minutes: float | None = None
    seed: int = 0
    budget: str | None = None
    columns: str | None = None
    match: str = "none"

    def __post_init__(self) -> None:
        if self.structure is None:
            self._fill("structure", registry.find("method", self.method).structure if self.method else "none")
        registry.find("structure", self.structure)
        if self.method is None:
            self._fill("method", DEFAULT_METHODS[self.structure])
        for kind in ("method", "allocation", "solver", "schedule"):
            registry.find(kind, getattr(self, kind))
        self._check_recovery()
        self._check_structure()
        self._check_pair()
        self._check_match()
        self._settle_sparsity()
        self._check_shares()
        self._check_calibration()

    def as_dict(self) -> dict:
        """The settings as JSON types."""
        return asdict(self)

    def _fill(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the way a frozen dataclass completes itself

    def _check_structure(self) -> None:
        belongs = registry.find("method", self.method).structure
        if belongs != self.structure:
            fitting = [entry.name for entry in registry.entries("method") if entry.structure == self.structure]
            raise RequestError(
                f"The method {self.method} belongs to structure {belongs}, not {self.structure}: "
                f"use --structure {belongs}, or one of these methods: {', '.join(fitting)}."
            )
        if self.structure == "none":
            return
        for name, plain in PLAIN:
            if getattr(self, name) != plain:
                raise RequestError(
                    f"--{name} {getattr(self, name)} is about single weights and --structure {self.structure} "
                    f"takes out whole parts: omit one of them."
                )

    def _check_recovery(self) -> None:
        names = [entry.name for entry in recoveries(self.recover)]
        if self.recover_minutes is None:
            return
        if not _is_number(self.recover_minutes) or not 0 < self.recover_minutes < math.inf:
            raise RequestError(f"Recovery must be given more than 0 minutes, not {self.recover_minutes!r}.")
        if names == ["none"]:
            raise RequestError("--recover-minutes is how long --recover may take: say which recovery, or omit it.")
        self._fill("recover_minutes", float(self.recover_minutes))

    def _check_pair(self) -> None:
        methods = registry.find("solver", self.solver).methods
        if methods is not None and self.method not in methods:
            raise RequestError(
                f"The solver {self.solver} cannot work with the method {self.method}: use --method {' or '.join(methods)}."
            )

    def _check_match(self) -> None:
        if self.match not in MATCHES:
            raise RequestError(f"Unknown match {self.match!r}: use one of {', '.join(MATCHES)}.")
        if self.match != "none" and self.solver == "none":
            raise RequestError(
                f"--match {self.match} changes the weights that stay and --solver none keeps them: choose a solver, such "
                "as exchange, or omit --match."
            )

    def _settle_sparsity(self) -> None:
        if self.sparsity is not None and not _is_number(self.sparsity):
            raise RequestError(f"The sparsity must be a number, not {self.sparsity!r}: use one from 0 to below 1.")
        implied = self.parsed_pattern().implied_sparsity
        if self.budget is not None:
            self._check_budget(implied)
            if self.sparsity is None:
                return  # until the model is known
        if self.sparsity is None:
            self._fill("sparsity", DEFAULT_SPARSITY if implied is None else implied)
        self._fill("sparsity", float(self.sparsity))
        if not 0 <= self.sparsity < 1:
            raise RequestError(f"The sparsity must be from 0 to below 1 (a fraction), not {self.sparsity:g}.")
        if implied is not None and not math.isclose(self.sparsity, implied, abs_tol=1e-6):
            raise RequestError(
                f"The pattern {self.pattern} means a sparsity of {implied:g}, not {self.sparsity:g}: "
                "omit --sparsity or choose another pattern."
            )

    def _check_budget(self, implied: float | None) -> None:
        Budget.parse(self.budget)
        if implied is not None:
            raise RequestError(
                f"The pattern {self.pattern} means a sparsity of {implied:g}, which leaves nothing to fit to a budget: "
                "omit --budget or choose another pattern."
            )

    def _check_shares(self) -> None:
        pattern = self.parsed_pattern()
        fixed = pattern.implied_sparsity is not None
        if self.allocation != "uniform" and (fixed or pattern.across_layers):
            why = "fixes the sparsity of every projection" if fixed else "shares out the sparsity itself"
            raise RequestError(
                f"The pattern {self.pattern} {why}, which leaves the allocation {self.allocation} nothing to do: "
                "omit --allocation or choose another pattern."
            )
        if self.schedule != "one-shot" and fixed:
            raise RequestError(
                f"The pattern {self.pattern} knows no sparsity in between for the schedule {self.schedule}: "
                "omit --schedule or choose another pattern."
            )

    def _check_calibration(self) -> None:
        if not isinstance(self.calibration, str) or not self.calibration:
            raise RequestError("The calibration must be embedded, self, a text file or a Hub data set.")
        source = find_source(self.calibration)
        if self.parsed_columns() and not source.takes_columns:
            raise RequestError(f"The calibration {self.calibration} has no columns: omit --columns.")
        if not isinstance(self.samples, int) or self.samples < 1:
            raise RequestError(f"The number of calibration samples must be at least 1, not {self.samples}.")
        if self.sequence_length is not None and (not isinstance(self.sequence_length, int) or self.sequence_length < 2):
            raise RequestError(f"The sequence length must be at least 2 tokens, not {self.sequence_length}.")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise RequestError(f"The seed must be a whole number from 0 on, not {self.seed}.")

    def settled(self, dense: Census) -> PruningConfig:
        """The same with the sparsity that the budget comes to for the `dense` model.

        RequestError if the budget is less than what is never pruned, more than the model takes, or not what the
        sparsity says.
        """
        if self.budget is None:
            return self
        sparsity = Budget.parse(self.budget).sparsity(dense)
        if self.sparsity is not None and not math.isclose(self.sparsity, sparsity, abs_tol=1e-6):
            raise RequestError(
                f"The budget of {self.budget} means a sparsity of {sparsity:.4f} for this model, not {self.sparsity:g}: "
                "omit one of them."
            )
        return replace(self, sparsity=sparsity)

    def parsed_columns(self) -> tuple[str, ...] | None:
        """The names of `columns`. RequestError for an empty one or one given twice."""
        return parse_columns(self.columns)

    def parsed_pattern(self):
        """The pattern as an object of `pruning.patterns`. RequestError if no pattern is written like that."""
        return parse(self.pattern)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
