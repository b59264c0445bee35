"""The two models that a visitor compares, fetched from the engine on the worker's thread."""

from typing import TYPE_CHECKING, NamedTuple

from ui.background.visitors import Visit
from ui.engine import Engine

if TYPE_CHECKING:
    from models import Loaded


class Side(NamedTuple):
    """One of the two: its name (`dense` or `pruned`) and its model."""

    name: str
    loaded: "Loaded"


def sides_of(engine: Engine, visit: Visit) -> list[Side]:
    """The dense side, and the pruned one if the visitor has it. RequestError if a model cannot be had."""
    sides = [Side("dense", engine.dense(visit.model))]
    if (twin := engine.twin(visit.twin)) is not None:
        sides.append(Side("pruned", twin.loaded))
    return sides
