"""One block at a time on the device, for a model that lies elsewhere."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

Move = Callable[[nn.Module, torch.device], None]


def move(module: nn.Module, device: torch.device) -> None:
    """Moves a module's own parameters and buffers, not its children's, in place: tied weights stay tied."""
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(device)
    for name, buffer in list(module.named_buffers(recurse=False)):
        setattr(module, name, buffer.to(device))


class Offload:
    """Brings what lies around the blocks to `device`, and of the blocks one at a time.

    Nothing is moved if the model is there already. `close` takes everything back to where it was.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module], device: torch.device, move: Move = move):
        self._home = next(model.parameters()).device
        self._device = device
        self._move = move
        self._blocks = [list(block.modules()) for block in blocks]
        inside = {id(module) for block in self._blocks for module in block}
        self._around = [module for module in model.modules() if id(module) not in inside]
        self._present: list[list[nn.Module]] = []  # what is on the device: what lies around, then one block

    def bring(self, index: int) -> None:
        """Has block `index` on the device, and no other."""
        if self._device == self._home or self._present[1:] == [self._blocks[index]]:
            return
        self._leave(1)
        for modules in (self._blocks[index],) if self._present else (self._around, self._blocks[index]):
            self._present.append(modules)
            self._shift(modules, self._device)

    def close(self) -> None:
        """Takes everything back."""
        self._leave(0)

    def _leave(self, staying: int) -> None:
        while len(self._present) > staying:
            self._shift(self._present[-1], self._home)
            self._present.pop()

    def _shift(self, modules: Sequence[nn.Module], device: torch.device) -> None:
        for module in modules:
            self._move(module, device)
