"""Next-token loss with a weight for each target."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]  # of a batch: model, ids, weights

# Logits copied to fp32 at once: 4 MiB on a CPU, for its cache, as softmax and its gradient are bound by memory.
CHUNK = {"cpu": 1 << 20, "cuda": 1 << 26}


def token_loss(model: nn.Module, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy (nats), each target weighted; ids [B, L + 1], weights [B, L].

    Softmax is taken in fp32 whatever the logits are, a few rows at a time: no fp32 copy of all logits [B L, V].
    """
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits.flatten(0, 1)
    rows = max(1, CHUNK[ids.device.type] // logits.shape[-1])
    pieces = zip(logits.split(rows), ids[:, 1:].flatten().split(rows), weights.flatten().split(rows), strict=True)
    total = sum((cross_entropy(some.float(), targets, reduction="none") * w).sum() for some, targets, w in pieces)
    return total / weights.sum().clamp_min(1e-6)
