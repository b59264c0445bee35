"""Whether a pruned model was calibrated on the very text that it is measured on."""

from pathlib import Path
from typing import TYPE_CHECKING

from evals.text_losses.data import Text
from models.console.units import format_percent
from models.errors import RequestError
from pruning.calibrating.overlap import Sketch
from pruning.saved.record import RECORD, finished_record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORTH_SAYING = 0.01  # unrelated texts share far fewer runs of eight tokens


def overlap_note(name: str, folder: Path, tokenizer: "PreTrainedTokenizerBase", text: Text) -> str | None:
    """A sentence for the reader if `pruning.json` in the model's folder says that it was calibrated on this text.

    The share is estimated from the sketch of the calibration text in that record (`pruning.calibrating.overlap`). None without a
    record, and below 1 %.
    """
    calibration = (finished_record(folder) or {}).get("calibration") or {}
    if "sketch" not in calibration:
        return None
    ids = tokenizer(text.content, add_special_tokens=False, verbose=False)["input_ids"]
    try:
        share = Sketch.from_dict(calibration["sketch"]).covers(ids)
    except (KeyError, TypeError, ValueError, IndexError):
        raise RequestError(f"{folder / RECORD} has a damaged sketch of its text: remove it to go on.") from None
    if share < WORTH_SAYING:
        return None
    return (
        f"The calibration text of {name} ({calibration['source']}) overlaps what was measured "
        f"({format_percent(share, 0)}): its figures on this text flatter it; measure on another."
    )
