"""The forward pass of all scoring: for causal models alone, and plainer where a family refuses options."""

import inspect
from typing import TYPE_CHECKING
from weakref import WeakSet

import torch

from models.console.out_of_memory import ran_out
from models.errors import EspalierError
from models.forward.causality import refuse_leaks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_plain: "WeakSet[PreTrainedModel]" = WeakSet()  # models that refused the usual call and answered the plain one


def text_logits(model: "PreTrainedModel", ids: torch.Tensor, first: int = 0, lengths: list[int] | None = None):
    """The logits [B, T - first, V], from place `first` on, of texts of ids [B, T], padded on the right to T.

    `lengths` [B] are those without padding; None where there is none. A family whose forward refuses the usual options
    (a mask, `use_cache`, `logits_to_keep`) is given each text by itself, without any. Raises RequestError for a model
    that is not causal.
    """
    refuse_leaks(model)
    if model not in _plain:
        try:
            return _usual(model, ids, first, lengths)
        except EspalierError:
            raise
        except Exception as error:
            if ran_out(error):
                raise
            found = _one_by_one(model, ids, first, lengths)  # which says what is wrong where it was not the options
            _plain.add(model)
            return found
    return _one_by_one(model, ids, first, lengths)


def trims(model: "PreTrainedModel") -> bool:
    """Whether the forward can leave out the logits of the first places."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _usual(model: "PreTrainedModel", ids: torch.Tensor, first: int, lengths: list[int] | None) -> torch.Tensor:
    kept = ids.shape[1] - first
    options: dict = {"logits_to_keep": kept} if first and trims(model) else {}
    if lengths is not None:
        places = torch.arange(ids.shape[1], device=ids.device)
        options["attention_mask"] = (places < torch.tensor(lengths, device=ids.device)[:, None]).long()
    return model(input_ids=ids, use_cache=False, **options).logits[:, -kept:]


def _one_by_one(model: "PreTrainedModel", ids: torch.Tensor, first: int, lengths: list[int] | None) -> torch.Tensor:
    count, longest = ids.shape
    found = None
    for row, length in enumerate(lengths or [longest] * count):
        logits = model(input_ids=ids[row : row + 1, :length]).logits[0, first:]
        if found is None:
            found = logits.new_zeros(count, longest - first, logits.shape[-1])
        found[row, : len(logits)] = logits
    return found
