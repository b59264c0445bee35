"""The plan: what goes, exactly. Made before anything is touched, shown, stored, and replayed on a fresh copy."""

from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class ProjectionPlan:
    """What goes from one projection.

    weight [rows, columns] loses `dropped` entries by `rule`; bytes are of the weight as it is stored. `mask_sha256`
    and `dead_inputs` (input channels that were zero on every calibration token) are known once the mask is chosen, and
    `error`, the relative squared error of the output on the calibration tokens, where a Gram matrix was collected;
    `tokens` is how many of them it was given, where text was read; `warnings` are what the solver found worth saying.
    `order` is that in which the dense model's input channels are put first, head after head; empty: as they are.
    """

    name: str
    block: int
    role: str
    rows: int
    columns: int
    sparsity: float
    rule: str
    dropped: int
    bytes_before: int
    bytes_after: int
    dead_inputs: int = 0
    mask_sha256: str | None = None
    error: float | None = None
    tokens: int | None = None
    warnings: tuple[str, ...] = ()
    order: tuple[int, ...] = ()

    def chosen(
        self, mask_sha256: str, dead_inputs: int, error: float | None, warnings: tuple[str, ...] = ()
    ) -> "ProjectionPlan":
        """The same with what became known when the mask was chosen."""
        return replace(self, mask_sha256=mask_sha256, dead_inputs=dead_inputs, error=error, warnings=warnings)

    def as_dict(self) -> dict:
        """The entry as JSON types."""
        return asdict(self) | {"warnings": list(self.warnings), "order": list(self.order)}

    @classmethod
    def from_dict(cls, entry: dict) -> "ProjectionPlan":
        """The entry that `as_dict` wrote."""
        return cls(**entry | {"warnings": tuple(entry["warnings"]), "order": tuple(entry["order"])})


@dataclass(frozen=True)
class BlockPlan:
    """What goes when whole blocks go: how many there were, the score of each, and the indices that stay."""

    count: int
    kept: tuple[int, ...]
    scores: tuple[float, ...]
    bytes_before: int
    bytes_after: int

    @property
    def removed(self) -> tuple[int, ...]:
        """The indices that go."""
        return tuple(index for index in range(self.count) if index not in self.kept)


@dataclass(frozen=True)
class Plan:
    """What goes from a model: weights of projections (`projections`) or whole blocks (`blocks`)."""

    structure: str
    method: str
    pattern: str
    sparsity: float
    projections: tuple[ProjectionPlan, ...] = ()
    blocks: BlockPlan | None = None

    @property
    def dropped(self) -> int:
        """How many single weights go."""
        return sum(projection.dropped for projection in self.projections)

    def as_dict(self) -> dict:
        """The plan as JSON types."""
        plan = asdict(self)
        plan["projections"] = [projection.as_dict() for projection in self.projections]
        if self.blocks:
            plan["blocks"] |= {name: list(getattr(self.blocks, name)) for name in ("kept", "scores", "removed")}
        return plan

    @classmethod
    def from_dict(cls, plan: dict) -> "Plan":
        """The plan that `as_dict` wrote."""
        blocks = plan["blocks"] and {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plan["blocks"].items()
            if name != "removed"
        }
        projections = tuple(ProjectionPlan.from_dict(entry) for entry in plan["projections"])
        return cls(**plan | {"projections": projections, "blocks": BlockPlan(**blocks) if blocks else None})
