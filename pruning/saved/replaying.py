"""A stored plan read again: whether it belongs to this model, and whether it came out as recorded."""

from models.errors import EspalierError, RequestError
from pruning.anatomy.roles import Anatomy
from pruning.config import PruningConfig
from pruning.plan import Plan


def read_record(record: dict) -> tuple[PruningConfig, Plan]:
    """The settings and the plan of a record. RequestError if it holds none that this version understands."""
    try:
        return PruningConfig(**record["config"]), Plan.from_dict(record["plan"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RequestError(
            f"The plan cannot be read ({type(error).__name__}: {error}): give what `prune --dry-run --json` printed, "
            "or a pruning.json, of this version of Espalier."
        ) from None


def check_fit(plan: Plan, anatomy: Anatomy) -> None:
    """RequestError unless the plan's blocks or projections are those of this model, by name and shape."""
    if plan.blocks is not None:
        if plan.blocks.count != len(anatomy.blocks):
            raise RequestError(
                f"The plan was made for {plan.blocks.count} blocks and this model has {len(anatomy.blocks)}: "
                "use the dense model it was made for."
            )
        kept = plan.blocks.kept
        if not kept or sorted({*kept}) != list(kept) or kept[0] < 0 or kept[-1] >= plan.blocks.count:
            raise RequestError(
                f"The plan keeps the blocks {list(kept)} of {plan.blocks.count}: their numbers must ascend from 0 on, "
                "below that."
            )
        return
    planned = {entry.name: (entry.rows, entry.columns) for entry in plan.projections}
    found = {entry.name: (entry.rows, entry.columns) for entry in anatomy.projections}
    if others := [name for name in planned | found if planned.get(name) != found.get(name)]:
        raise RequestError(
            f"The plan was made for another model ({len(others)} projections differ, such as {others[0]}): "
            "use the dense model it was made for."
        )


def check_masks(plan: Plan, done: Plan) -> None:
    """EspalierError unless every mask that `plan` records came out the same in `done`."""
    recorded = {entry.name: entry.mask_sha256 for entry in plan.projections if entry.mask_sha256}
    found = {entry.name: entry.mask_sha256 for entry in done.projections}
    if others := [name for name in recorded if recorded[name] != found[name]]:
        raise EspalierError(
            f"{len(others)} of {len(recorded)} masks came out otherwise than the plan records (such as {others[0]}): "
            "the model, the calibration text, the dtype, the libraries or the machine is another; nothing was kept."
        )
