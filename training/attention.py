"""Causal attention for training on a CPU, as blocks of ordinary matrix products.

PyTorch's fused attention does not reach a CPU's bf16 matrix units in its backward pass. Plain products do, if the
scores of one window at a time stay in the cache; much of what lies above the diagonal is left out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AttentionInterface

NAME = "training_blocks"
BLOCK = 256  # queries at once; smaller ones compute less above the diagonal, but their products are slower


@contextmanager
def attention_for(model: nn.Module) -> Iterator[None]:
    """Within it a Llama on a CPU attends by blocks; any other model is left as it is."""
    config = getattr(model, "config", None)
    plain = getattr(config, "model_type", None) == "llama" and not config.attention_dropout  # causal, nothing else
    if not plain or next(model.parameters()).device.type != "cpu":
        yield
        return
    before = config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_,
) -> tuple[torch.Tensor, None]:
    """softmax(query key^T scaling) value over what stands before: query [B, H, L, D], key and value [B, K, L, D].

    Returns [B, L, H, D], in the form that transformers asks of an attention function. No padding mask and no dropout:
    the windows of training are full, and what pads their end is not attended to by what counts.
    """
    assert attention_mask is None and not dropout and query.shape[2] == key.shape[2]
    groups = query.shape[1] // key.shape[1]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    query = (query * scaling).to(value.dtype)
    key = key.to(value.dtype).repeat_interleave(groups, 1)
    value = value.repeat_interleave(groups, 1)
    windows = [_window(*window) for window in zip(query, key, value, strict=True)]
    return torch.stack(windows).transpose(1, 2), None


def _window(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    blocks = []
    for start in range(0, query.shape[1], BLOCK):
        end = min(start + BLOCK, query.shape[1])
        scores = query[:, start:end] @ key[:, :end].transpose(1, 2)
        later = torch.full((end - start, end), float("-inf"), dtype=scores.dtype).triu(start + 1)
        blocks.append((scores + later).softmax(-1) @ value[:, :end])
    return torch.cat(blocks, 1)


AttentionInterface.register(NAME, attend)
