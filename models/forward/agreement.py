"""Whether two ways to compute a model's logits are the same way, rounding aside."""

import torch
from transformers import PreTrainedModel

from models.description import context_length

PROBE = 12  # tokens of a trial
ROUNDING = 1e-4  # of the logits' spread: what full precision may differ by
FORGETTING = 0.2  # of what forgetting all that came before would change: what a narrower precision may differ by
EXACT = {torch.float32, torch.float64, torch.int64, torch.bool}


def probe(model: PreTrainedModel) -> torch.Tensor:
    """Token ids [1, T], ordinary ones of the model's vocabulary, all different where it has so many."""
    config = model.config.get_text_config()
    special = {getattr(config, f"{name}_token_id", None) for name in ("bos", "pad")}
    ends = getattr(config, "eos_token_id", None)
    special |= set(ends) if isinstance(ends, list) else {ends}
    ordinary = [token for token in range(config.vocab_size) if token not in special][: 40 * PROBE : 37] or [0]
    many = min(PROBE, context_length(config))
    ids = (ordinary * many)[:many]
    return torch.tensor([ids], device=next(model.parameters()).device)


@torch.inference_mode()
def logits_of(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """The logits [batch, tokens, vocabulary] of texts read at once, nothing carried."""
    return model(input_ids=ids, use_cache=False).logits


@torch.inference_mode()
def same_logits(
    model: PreTrainedModel, ids: torch.Tensor, found: torch.Tensor, whole: torch.Tensor, places: torch.Tensor
) -> bool:
    """Whether `found` [n, V] are the logits at `places` [n] of a text `ids` [T] whose own are `whole` [T, V].

    In full precision all must agree to rounding. In a narrower one, and with packed weights, most of them must lie far
    nearer to what the text says than to what its last token alone would: a near tie between experts may move a few.
    Logits that are not finite agree with anything: that is another fault, reported where the text is written.
    """
    right, found = whole[places].float(), found.float()
    if not bool(torch.isfinite(right).all()):
        return True
    # Logits that are all alike have no spread to speak of, only rounding.
    spread = right.std(-1).maximum(ROUNDING * right.abs().amax(-1)).clamp_min(torch.finfo(torch.float32).tiny)
    apart = _distance(found, right) / spread
    if _is_exact(model):
        return bool((apart <= ROUNDING).all())
    alone = logits_of(model, ids[places][:, None])[:, -1].float()
    allowed = (FORGETTING * _distance(alone, right) / spread).clamp_min(ROUNDING)
    return bool((apart <= allowed).sum() * 2 > len(places))


def _distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The root of the mean square by row."""
    return (first - second).square().mean(-1).sqrt()


def _is_exact(model: PreTrainedModel) -> bool:
    """Whether all that the model computes with is stored in full precision."""
    tensors = (*model.parameters(), *model.buffers())
    return {tensor.dtype for tensor in tensors if tensor.ndim > 1} <= EXACT
