"""The processes that share a training run: one, or as many as `accelerate launch` or `torchrun` has started."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from torch import nn

from models.errors import RequestError

Window = tuple[np.ndarray, np.ndarray]  # token ids [L + 1], loss weight of each target [L]


class Processes:
    """Shares batches of `batch` windows evenly and keeps the processes at one.

    Every process sees all windows and takes its own: nothing need be sent but gradients and two numbers a step.
    Raises RequestError if the batch cannot be shared evenly, or the model is not where the processes were launched for.
    """

    def __init__(self, model: nn.Module, batch: int):
        placed = next(model.parameters()).device
        PartialState(cpu=placed.type == "cpu")  # the first one decides: without it accelerate takes the cards there are
        self.accelerator = Accelerator(mixed_precision="no")  # autocast and the scaling of gradients are the loop's
        self.count = self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        self.index = self.accelerator.process_index
        self.batch = batch
        if batch % self.count:
            raise RequestError(f"--batch {batch} cannot be shared by {self.count} processes: use a multiple of that.")
        launched = self.accelerator.device
        if self.count > 1 and placed.type != launched.type:
            raise RequestError(f"The processes were launched on {launched.type}: use --device {launched.type}.")
        if self.count > 1:
            model.to(launched)  # every process has a card of its own
        self.device = next(model.parameters()).device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model to call in training: its backward pass averages the gradients over the processes."""
        return self.accelerator.prepare(model) if self.count > 1 else model

    def without_averaging(self, model: nn.Module) -> AbstractContextManager:
        """In it a backward pass only adds to this process's gradients."""
        return self.accelerator.no_sync(model)

    def batches(self, windows: Sequence[Window]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """This process's ids [b, L + 1] and weights [b, L] of every batch of `windows`, on the device."""
        for start in range(0, len(windows), self.batch):
            own = windows[start : start + self.batch][self.index :: self.count]
            if own:
                ids, weights = zip(*own, strict=True)
                yield self._tensor(ids), self._tensor(weights)

    def agree(self, value: float, seconds: float) -> tuple[float, float]:
        """The sum of the processes' values, and the main process's clock: all must end at the same step."""
        if self.count == 1:
            return value, seconds
        own = torch.tensor([value, seconds if self.is_main else 0.0], dtype=torch.float64, device=self.device)
        value, seconds = self.accelerator.reduce(own, "sum").tolist()
        return value, seconds

    def _tensor(self, arrays: Sequence[np.ndarray]) -> torch.Tensor:
        tensor = torch.from_numpy(np.stack(arrays))
        # From pinned memory the copy runs beside the work that the device still has queued.
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor
