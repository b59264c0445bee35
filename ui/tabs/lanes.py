"""The rows of the race: the two models as they stand, and beside them both in packed layouts, so that what the kernels
give and what the zeros give are seen apart."""

from typing import TYPE_CHECKING

from models.console.progress import Progress
from models.console.stopping import aside, interruptible
from models.errors import RequestError
from models.memory import parameter_bytes, require
from ui.engine import PLAIN, Twin
from ui.pair import Side
from ui.plain_words import without_options
from ui.texts import Words

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evals.cost.speed import Contender, RaceResult

# Row by row: which of the two it is made of, its format, and the layout that a twin of that row is stored as.
ROWS = {
    "dense_layout": ("dense", "dense", None),
    "packed": ("pruned", "auto", "packed"),
    "packed_int8": ("pruned", "int8", "packed int8"),
}


def lanes_of(sides: list[Side], layout: str, progress: Progress) -> tuple[list["Contender"], list[str]]:
    """The contenders by the names of their rows, and one line for each row that is missing or off the fast path.

    layout: how the pruned side is stored (`Settings.layout`). The copies share what they can with the models beside.
    """
    lanes: dict[str, Contender] = {side.name: (side.name, side.loaded.model, side.loaded.tokenizer) for side in sides}
    missing = []
    for number, (row, (name, format, stored)) in enumerate(ROWS.items()):
        if stored == layout:
            continue  # the pruned side is that row
        progress(number / len(ROWS), row)
        try:
            model = _copy(lanes[name][1], format)
            lanes[row] = (row, model, lanes[name][2])
        except RequestError as error:
            missing.append(str(error))
    missing = [without_options(line) for line in (*missing, *_slow_paths(lanes))]
    order = ["dense", "dense_layout", "pruned", "packed", "packed_int8"]
    return sorted(lanes.values(), key=lambda lane: order.index(lane[0])), missing


def layout_of(twin: Twin | None) -> str:
    """How a twin is stored; one that was pruned elsewhere tells it by its layers."""
    if twin is None:
        return PLAIN
    if twin.settings is not None:
        return twin.settings.layout
    from pruning.packing.install import packed_layers

    layers = packed_layers(twin.loaded.model).values()
    return PLAIN if not layers else "packed int8" if any(layer.format.int8 for layer in layers) else "packed"


def row_name(row: str, layout: str, words: Words) -> str:
    """What a row is called."""
    if row != "pruned" or layout == PLAIN:
        return words(f"lane_{row}")
    return words(f"lane_{layout.replace(' ', '_')}")


def gains(result: "RaceResult", layout: str, words: Words) -> str:
    """The sentence that splits the packed twin's gain: what the kernels give and what the zeros give beside it.

    layout: how the pruned side is stored. Empty where a row that it needs is missing.
    """
    rates = {lane.name: lane.decode_rate.value for lane in result.lanes}
    packed = "pruned" if layout == "packed" else "packed"
    if not {"dense_layout", packed} <= rates.keys():
        return ""
    kernels, zeros = rates["dense_layout"] / rates["dense"], rates[packed] / rates["dense_layout"]
    return words("race_gains", kernels=f"{kernels:.2f}", zeros=f"{zeros:.2f}")


def _slow_paths(lanes: dict[str, "Contender"]) -> list[str]:
    """One line for each reason why packed rows do not take the fast path."""
    from pruning.packing.fast_path import slow_path

    rows: dict[str, list[str]] = {}
    for row, model, _ in lanes.values():
        if reason := slow_path(model):
            rows.setdefault(reason, []).append(row)
    return [f"{', '.join(names)}: {reason}" for reason, names in rows.items()]


def _copy(model: "PreTrainedModel", format: str) -> "PreTrainedModel":
    from pruning.packing.kernels import kernels
    from pruning.packing.layout import in_layout

    device = next(model.parameters()).device
    require(parameter_bytes(model), device, f"A copy for the race ({format})")
    aside(kernels)
    with interruptible():
        return in_layout(model, format)
