"""Whether a model writes in a batch what each prompt gets alone: tried once for a model.

Prompts of a batch are padded on the left. Some families take no notice of the mask (RWKV), count positions from the
padding (BART), or lose what they have read between two tokens.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from models.console.out_of_memory import ran_out
from models.console.quiet import quiet_transformers
from models.forward.agreement import logits_of, probe, same_logits
from models.forward.plain_generation import plain_settings

TRIED = 3  # tokens written after each prompt of the trial
_KNOWN: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def takes_batches(model: PreTrainedModel) -> bool:
    """Whether `generate` gives a padded and a whole prompt of one batch the logits that each has alone."""
    if model not in _KNOWN:
        _KNOWN[model] = _try(model)
    return _KNOWN[model]


def padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids [n, T] of prompts padded on the left to the longest, and their mask [n, T] (1: not padding)."""
    longest = max(len(ids) for ids in prompts)
    ids = torch.tensor([[*[0] * (longest - len(ids)), *ids] for ids in prompts], device=device)
    mask = torch.tensor([[*[0] * (longest - len(ids)), *[1] * len(ids)] for ids in prompts], device=device)
    return ids, mask


@torch.inference_mode()
def _try(model: PreTrainedModel) -> bool:
    text = probe(model)[0].tolist()
    written = min(TRIED, len(text) - 2)
    if written < 1:
        return False
    whole = text[: len(text) - written]
    # A prompt of one token may not fill a family's convolution.
    return all(_writes(model, batch, written) for batch in ([whole, whole[: (len(whole) + 1) // 2]], [whole[:1]]))


def _writes(model: PreTrainedModel, prompts: list[list[int]], written: int) -> bool:
    """Whether so many tokens written after the prompts of a batch have the logits that they have alone."""
    ids, mask = padded(prompts, next(model.parameters()).device)
    asked = {"max_new_tokens": written, "output_logits": True, "return_dict_in_generate": True}
    try:
        with quiet_transformers(), plain_settings(model, **asked) as settings:
            found = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    except Exception as error:  # whatever a family says to a batch that it cannot take
        if ran_out(error):
            raise
        return False
    for row, prompt in enumerate(prompts):
        alone = found.sequences[row, ids.shape[1] - len(prompt) : -1]
        places = torch.arange(len(prompt) - 1, len(alone), device=alone.device)
        logits = torch.stack([step[row] for step in found.logits])
        if not same_logits(model, alone, logits, logits_of(model, alone[None])[0], places):
            return False
    return True
