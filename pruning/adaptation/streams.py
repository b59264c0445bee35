"""Runs one block, or a part of it, on a stream that is given, with what the model's own forward gives it besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from pruning.collect.blockwise import Batch, BlockWalk


class StreamWalk(BlockWalk):
    """A walk for which any stream may be handed to any block, as a context manager like every walk.

    `start(number)` is the stream [B, T, H] before the first block for a batch, `through(index, number, hidden)` what
    block `index` makes of one, with a graph where gradients are on.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[nn.Module],
        batches: Sequence[Batch],
        activations: Path | None = None,
        device: torch.device | None = None,
    ):
        super().__init__(model, blocks, batches, activations, device)
        self.device = self._device
        self.batches = self._batches
        self.count = len(self._batches)

    def __enter__(self) -> StreamWalk:
        super().__enter__()
        # The first block is given the embeddings by the model itself: in their place comes what was handed on.
        hook = self._blocks[0].register_forward_pre_hook(self._replace, with_kwargs=True)
        self._restore.append(hook.remove)
        return self

    @torch.no_grad()
    def start(self, number: int) -> torch.Tensor:
        """The stream [B, T, H] that the model gives its first block."""
        self._offload.bring(0)
        given, _ = self._pass(0, self._batches[number], None)
        return given

    def bring(self, index: int) -> None:
        """Has block `index` on the device, where it computes."""
        self._offload.bring(index)

    def through(self, index: int, number: int, hidden: torch.Tensor) -> torch.Tensor:
        """What block `index` makes of a stream [B, T, H] of batch `number`."""
        # A copy, since some blocks write into what they are given.
        return self._pass(index, self._batches[number], hidden.to(self.device).clone())[1]

    def _replace(self, block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if self._index or self._handed_on is None:
            return None
        if args:
            return (self._handed_on, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self._handed_on}
