"""The gradient of the calibration loss by every prunable weight, with the graph of one block at a time in memory.

Exact, by the chain rule over blocks: a walk forwards keeps what each block gives, the model's head turns the last into
the loss and its gradient, and a walk backwards runs each block again with grad. In bf16 where the model is and the
hardware multiplies it, with all sums in fp32, which makes a CPU two to three times as fast; otherwise in fp32, in which
one block at a time of a model in another dtype, and what lies around the blocks, is held besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from models.errors import EspalierError
from models.policy import choose_dtype
from pruning.collect.blockwise import Batch, BlockWalk, Tick

if TYPE_CHECKING:
    from pruning.job import Job

# What a method's `needs` may name: [R, C], from the gradients g_s of the losses of the windows s. What is summed of
# each, and what becomes of the sum.
GRADIENT_STATISTICS: dict[str, tuple[Callable, Callable]] = {
    "gradient_l1": (torch.abs, torch.clone),  # sum_s |g_s|
    "gradient_l2": (torch.square, torch.sqrt),  # sqrt(sum_s g_s^2)
}
TOKENS_AT_ONCE = 16384  # of which the hidden states between all blocks are kept

Sums = dict[tuple[str, str], torch.Tensor]  # by the names of a parameter and a statistic, shaped like the parameter


def loss_gradients(job: Job, needs: Sequence[str]) -> dict[str, dict[str, torch.Tensor]]:
    """The statistics `needs`, each of every projection of `job.model` as it is, by name: fp32 [R, C], on the CPU.

    The loss of a window is the mean cross-entropy of its tokens, given those before them. The model is left as it was.
    EspalierError if a gradient is not finite.
    """
    projections, blocks = job.anatomy.projections, job.anatomy.blocks
    chunks = in_chunks([window for batch in job.windows.batches for window in alone(batch)])
    totals: Sums = {}
    for number, windows in enumerate(chunks):
        tick = job.stage(number, len(chunks), "Gradients of calibration part")
        with GradientWalk(job.model, blocks, windows, job.activations, job.device) as walk:
            walk.forward(lambda done, tick=tick: tick(done / 3))  # a backward pass takes about twice as long
            for index in reversed(range(len(blocks))):
                parameters = {entry.parameter_name: entry.parameter for entry in job.anatomy.of_block(index)}
                for key, part in walk.backward(index, parameters, needs).items():
                    totals[key] = totals[key].add_(part) if key in totals else part
                tick(1 - index / len(blocks) * 2 / 3)
    for (name, need), total in totals.items():
        if not bool(total.isfinite().all()):
            raise EspalierError(f"The gradients of {name} are not finite: use a method that reads none, such as wanda.")
        totals[name, need] = GRADIENT_STATISTICS[need][1](total)
    taken = {
        need: {entry.name: entry.part(totals[entry.parameter_name, need]) for entry in projections} for need in needs
    }
    unreached = [
        entry.name for entry in projections if entry.expert is not None and not taken[needs[0]][entry.name].any()
    ]
    if unreached:
        for values in taken.values():
            values.update((name, torch.ones_like(values[name])) for name in unreached)
        job.warnings.append(
            f"No gradient reached {len(unreached)} experts' projections (such as {unreached[0]}): they are scored by "
            "their weights alone; use more --samples or other text."
        )
    return taken


class GradientWalk(BlockWalk):
    """A walk forwards and back, as a context manager that gives the model back as it was; batches are not padded.

    with GradientWalk(model, blocks, batches) as walk:
        walk.forward(tick)
        for index in reversed(range(len(blocks))):
            walk.backward(index, parameters, needs)
    """

    def __enter__(self) -> GradientWalk:
        super().__enter__()
        self._casts = ExitStack()
        for parameter in self._model.parameters():
            self._restore.append(lambda own=parameter, flag=parameter.requires_grad: own.requires_grad_(flag))
            parameter.requires_grad_(False)
        return self

    def __exit__(self, *error: object) -> None:
        self._casts.close()  # before anything is moved back to where it was
        super().__exit__(*error)

    def forward(self, tick: Tick) -> None:
        """Runs every block on every batch, and keeps the gradient of the loss by what the last one gave."""
        inside = {id(parameter) for block in self._blocks for parameter in block.parameters()}
        self._offload.bring(0)
        around = [parameter for parameter in self._model.parameters() if id(parameter) not in inside]
        self._casts.enter_context(in_working_dtype(around, self._device))
        for index, block in enumerate(self._blocks):
            tick(index / len(self._blocks))
            self._offload.bring(index)
            with in_working_dtype(block.parameters(), self._device), torch.no_grad():
                for number, batch in enumerate(self._batches):
                    _, output = self._pass(index, batch, self._given(index, number))
                    self.outputs[self._slot(index, number)] = output
        last = len(self._blocks) - 1
        for number, batch in enumerate(self._batches):
            hidden = self._given(last + 1, number).requires_grad_()
            with torch.enable_grad():
                loss = self._loss(batch, hidden)
            self.outputs[self._slot(last, number)] = torch.autograd.grad(loss, hidden)[0]

    def backward(self, index: int, parameters: Mapping[str, nn.Parameter], needs: Sequence[str]) -> Sums:
        """The statistics `needs` of `parameters` of block `index`, summed over the batches, on the CPU.

        To be called for the last block first: it takes the gradient of the loss by what the block gave, and leaves in
        its place, for the block before, the one by what it was given.
        """
        self._offload.bring(index)
        sums: Sums = {}
        with in_working_dtype(self._blocks[index].parameters(), self._device):
            for number, batch in enumerate(self._batches):
                by_output = self.outputs[self._slot(index, number)].to(self._device)
                gradients = self._differentiate(index, batch, self._given(index, number), parameters, by_output)
                if index:
                    self.outputs[self._slot(index - 1, number)] = gradients.pop()
                for name, gradient in zip(parameters, gradients, strict=True):
                    for need in needs:
                        part = GRADIENT_STATISTICS[need][0](gradient.float())
                        sums[name, need] = sums[name, need].add_(part) if (name, need) in sums else part
        return {key: part.cpu() for key, part in sums.items()}

    def _differentiate(
        self,
        index: int,
        batch: Batch,
        given: torch.Tensor | None,
        parameters: Mapping[str, nn.Parameter],
        by_output: torch.Tensor,
    ) -> list[torch.Tensor]:
        """The gradients of one batch's loss by the parameters, then by what the block is given, but for the first."""
        wanted = [*parameters.values(), *([] if given is None else [given])]
        try:
            for tensor in wanted:
                tensor.requires_grad_()
            with torch.enable_grad():
                # A copy, since some blocks write into what they are given.
                _, output = self._pass(index, batch, None if given is None else given.clone())
            return list(torch.autograd.grad(output, wanted, by_output, allow_unused=True, materialize_grads=True))
        finally:
            for parameter in parameters.values():
                parameter.requires_grad_(False)

    def _loss(self, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy of a batch's tokens given those before, in nats, if the blocks give `hidden`."""
        self._index, self._handed_on = len(self._blocks), hidden
        logits = self._model(**batch.inputs(self._device), use_cache=False).logits
        targets = batch.ids.to(self._device)[:, 1:]
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.flatten())

    def _given(self, index: int, number: int) -> torch.Tensor | None:
        return self.outputs[self._slot(index - 1, number)].to(self._device).detach() if index else None

    def _slot(self, index: int, number: int) -> int:
        return index * len(self._batches) + number


def alone(batch: Batch) -> Iterator[Batch]:
    """The windows of a batch one by one, without padding."""
    for ids, mask in zip(batch.ids, batch.mask, strict=True):
        yield Batch(ids[mask][None], mask[mask][None])


def in_chunks(windows: Sequence[Batch]) -> list[list[Batch]]:
    """The windows, in order, in lists of at most `TOKENS_AT_ONCE` tokens (at least one window)."""
    chunks: list[list[Batch]] = []
    room = 0
    for window in windows:
        if room < window.ids.numel():
            chunks.append([])
            room = TOKENS_AT_ONCE
        chunks[-1].append(window)
        room -= window.ids.numel()
    return chunks


def in_working_dtype(parameters: Iterable[nn.Parameter], device: torch.device) -> AbstractContextManager[None]:
    """Has the parameters in the dtype that gradients are taken in: bf16 ones as they are where that is fast, else fp32.

    (Not fp16 as it is: small gradients would be lost in it.)
    """
    fast = {torch.bfloat16} & {choose_dtype(device)}
    return in_float32(parameter for parameter in parameters if parameter.dtype not in fast)


@contextmanager
def in_float32(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Has the parameters in fp32, and afterwards as they were, bit for bit."""
    own = [(parameter, parameter.data) for parameter in parameters if parameter.dtype != torch.float32]
    try:
        for parameter, data in own:
            parameter.data = data.float()
        yield
    finally:
        for parameter, data in own:
            parameter.data = data
