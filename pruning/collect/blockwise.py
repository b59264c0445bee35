"""Walks a model one block at a time, on the inputs that its own forward makes.

For block i the model's forward runs with the blocks before it replaced by stubs that hand on what was cached, and
stops after block i by an exception. So masks, rotary embeddings and whatever else a block is given come from the
model itself, for every block and every batch, and nothing about them is assumed. Each batch's hidden state waits
on the CPU or on disk; of a model that lies on the CPU only one block at a time is on the device that computes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.errors import EspalierError
from pruning.collect.activations import Activations, InMemory, OnDisk
from pruning.collect.offload import Offload


@dataclass(frozen=True)
class Batch:
    """Token ids [B, T] and the mask [B, T] that is True where a token is text and not padding."""

    ids: torch.Tensor
    mask: torch.Tensor

    def inputs(self, device: torch.device) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward; a mask only where there is padding."""
        inputs = {"input_ids": self.ids.to(device)}
        if not bool(self.mask.all()):
            inputs["attention_mask"] = self.mask.to(device, torch.long)
        return inputs


Before = Callable[[Batch], None]
Tick = Callable[[float], None]  # the fraction of the batches that is done
Observer = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]  # block input, block output, mask [B, T]


class BlockWalk:
    """The walk, as a context manager that gives the model back as it was.

    with BlockWalk(model, blocks, batches) as walk:
        for index in range(len(blocks)):
            walk.run(index)      # block `index` sees every batch; hooks on its modules observe it
            ...                  # change its weights
            walk.advance(index)  # run it again and keep what it gives as the next block's input

    `outputs[b]` is the hidden state [B, T, hidden] of batch b after the last block advanced, on the CPU: kept in
    memory, or in files in the folder `activations` until the walk ends. `device` is where the blocks are computed,
    one at a time, if that is not where the model is; a block stays there until another one runs.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[nn.Module],
        batches: Sequence[Batch],
        activations: Path | None = None,
        device: torch.device | None = None,
    ):
        self._model = model
        self._blocks = list(blocks)
        self._batches = list(batches)
        self._activations = activations
        self._device = device or next(model.parameters()).device
        self._offload = Offload(model, self._blocks, self._device)
        self._restore: list[Callable[[], None]] = []
        self._index = 0
        self._handed_on: torch.Tensor | None = None
        self._tuple_lengths: dict[int, int] = {}  # blocks that return a tuple, and how long it is
        self.outputs: Activations = InMemory()

    def __enter__(self) -> "BlockWalk":
        if self._activations:
            self.outputs = OnDisk(self._activations)
        self._restore.append(self.outputs.close)
        for module in self._model.modules():
            self._restore.append(partial(setattr, module, "training", module.training))
        self._model.eval()
        for index, block in enumerate(self._blocks):
            self._patch(index, block)
        return self

    def __exit__(self, *_: object) -> None:
        self._offload.close()
        while self._restore:
            self._restore.pop()()

    @torch.no_grad()
    def run(
        self, index: int, before: Before | None = None, observe: Observer | None = None, tick: Tick | None = None
    ) -> None:
        """Runs block `index` on every batch: `before` is called ahead of each, `observe` with what the block gave.

        A hook that has seen what it wants may raise SeenEnough, unless what the block gives is observed.
        """
        for _ in self._passes(index, before, observe, tick):
            pass

    @torch.no_grad()
    def advance(
        self, index: int, before: Before | None = None, observe: Observer | None = None, tick: Tick | None = None
    ) -> None:
        """Runs block `index` on every batch and keeps its outputs as what the next block will be given."""
        for number, output in enumerate(self._passes(index, before, observe, tick)):
            self.outputs[number] = output

    @torch.no_grad()
    def logits(self) -> Iterator[torch.Tensor]:
        """What the model makes of each batch once every block has advanced: [B, T, vocabulary]."""
        self._index = len(self._blocks)
        for number, batch in enumerate(self._batches):
            self._handed_on = self.outputs[number].to(self._device)
            yield self._model(**batch.inputs(self._device), use_cache=False).logits

    def _passes(
        self, index: int, before: Before | None, observe: Observer | None, tick: Tick | None
    ) -> Iterator[torch.Tensor]:
        self._offload.bring(index)
        for number, batch in enumerate(self._batches):
            if tick is not None:
                tick(number / len(self._batches))
            if before is not None:
                before(batch)
            given, output = self._pass(index, batch, self.outputs[number].to(self._device) if index else None)
            if observe is not None:
                observe(given, output, batch.mask.to(self._device))
            yield output

    def _pass(
        self, index: int, batch: Batch, handed_on: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """What block `index` is given and gives, if the block before it hands on that [B, T, hidden].

        None and None where a hook had seen enough.
        """
        self._index, self._handed_on = index, handed_on
        try:
            self._model(**batch.inputs(self._device), use_cache=False)
        except _Reached as reached:
            return reached.given, reached.output
        except SeenEnough:
            return None, None
        raise EspalierError(
            f"{type(self._model).__name__} did not run its block {index}: a model that skips blocks cannot be walked."
        )

    def _patch(self, index: int, block: nn.Module) -> None:
        own = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if index < self._index:
                return self._in_form(index, self._handed_on)
            given = args[0] if args else kwargs["hidden_states"]
            output = own(*args, **kwargs)
            if isinstance(output, tuple):
                self._tuple_lengths[index] = len(output)
                output = output[0]
            raise _Reached(given, output)

        # Kept and put back by hand: other libraries (accelerate's offloading) set instance forwards, too.
        before = block.__dict__.get("forward")
        block.forward = forward
        self._restore.append(lambda: block.__dict__.update(forward=before) if before else block.__dict__.pop("forward"))

    def _in_form(self, index: int, hidden: torch.Tensor) -> Any:
        length = self._tuple_lengths.get(index)
        return hidden if length is None else (hidden, *[None] * (length - 1))


class SeenEnough(Exception):
    """Ends a pass that nobody needs the rest of."""


class _Reached(Exception):
    """Ends the model's forward once the block in question has run."""

    def __init__(self, given: torch.Tensor, output: torch.Tensor):
        super().__init__("the block has run")
        self.given = given
        self.output = output
