"""Reconstruction part by part, on the residual stream of the dense model.

Two streams go through the model: h through the dense one, h' through the pruned one. Each part f (attention, or the
feed-forward network, with the norm before it) is adapted so that h' + f(h') comes near h + f(h): so what earlier parts
left over is corrected, too. After "A Free Lunch in LLM Compression" (2510.14444), but for the loss: a token's squared
error counts by that token's own mean square, since a few tokens with massive activations would carry nearly all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import mean
from typing import TYPE_CHECKING

import torch

from pruning.adaptation.descent import descend
from pruning.adaptation.parts import find_parts
from pruning.adaptation.settings import Cost, Settings
from pruning.adaptation.streams import StreamWalk
from pruning.adaptation.weights import Trained, check_separate, holding
from pruning.collect.activations import Activations, InMemory, OnDisk
from pruning.collect.gradients import in_float32
from pruning.registry import register
from training.attention import attention_for
from training.loop import mixed_precision

if TYPE_CHECKING:
    from models.console.progress import Progress
    from pruning.job import Job

SETTINGS = Settings(tokens=65_536, text=16_384, batch=512, rate=2e-3)
PASSES = 3  # over all batches that every part takes besides its steps


@register("recover", "reconstruct", needs=("streams",))
class Reconstruct:
    """Attention and feed-forward networks learn, one by one, to lead to what they led to in the dense model; minutes."""

    def __init__(self, job: Job, settings: Settings = SETTINGS):
        check_separate(job)
        self._job = job
        self._settings = settings
        self._dense: list[list[torch.Tensor]] = []

    def cost(self, tokens: int) -> Cost:
        """What it takes with a calibration text of so many tokens: the dense blocks and two streams are kept."""
        model = self._job.model
        kept = sum(self._job.stored_bytes(parameter) for parameter in self._job.anatomy.blocks.parameters())
        streams = 2 * 4 * min(tokens, self._settings.text) * model.config.get_text_config().hidden_size
        return Cost(self._settings.cost(tokens, PASSES), kept + streams)

    def begin(self) -> None:
        """Keeps the dense blocks' parameters, on the CPU."""
        blocks = self._job.anatomy.blocks
        self._dense = [[own.detach().to("cpu", copy=True) for own in block.parameters()] for block in blocks]

    def run(self, progress: Progress, seconds: float | None) -> dict:
        """Adapts every part of every block in turn. EspalierError if a loss or a weight is not finite."""
        job, blocks = self._job, self._job.anatomy.blocks
        batches = self._settings.batches(job.windows)
        inside = {id(parameter) for parameter in blocks.parameters()}
        around = [parameter for parameter in job.model.parameters() if id(parameter) not in inside]
        end = None if seconds is None else time.monotonic() + seconds
        found = []
        with (
            in_float32(around),
            attention_for(job.model),
            StreamWalk(job.model, blocks, batches, job.activations, job.device) as walk,
            self._stream(walk) as dense,
            self._stream(walk) as pruned,
        ):
            for index in range(len(blocks)):
                whole = f"of block {index + 1} of {len(blocks)}"

                def tick(fraction: float, part: str, index: int = index, whole: str = whole) -> None:
                    progress((index + fraction) / len(blocks), f"Reconstructing {part} {whole}")

                block = _Block(walk, index, job, self._settings, [dense, pruned])
                allowed = None if end is None else (end - time.monotonic()) / (len(blocks) - index)
                found += block.adapt(self._dense[index], tick, allowed)
        return {"parts": found}

    @contextmanager
    def _stream(self, walk: StreamWalk) -> Iterator[Activations]:
        """A stream as the model begins it, the hidden states [B, T, H] of each batch in fp32."""
        stream = OnDisk(self._job.activations) if self._job.activations else InMemory()
        try:
            with in_float32(self._job.anatomy.blocks[0].parameters()):
                for number in range(walk.count):
                    stream[number] = walk.start(number).float()
            yield stream
        finally:
            stream.close()


class _Block:
    """One block between two streams, that of the dense model and that of the pruned one, which it moves on."""

    def __init__(self, walk: StreamWalk, index: int, job: Job, settings: Settings, streams: list[Activations]):
        self._walk, self._index, self._job, self._settings = walk, index, job, settings
        self._dense, self._pruned = streams

    def adapt(self, dense: list[torch.Tensor], tick: Callable[[float, str], None], seconds: float | None) -> list[dict]:
        """Adapts the block's parts, in so many seconds if they are given; `dense` are its dense parameters."""
        job, walk, block = self._job, self._walk, self._job.anatomy.blocks[self._index]
        walk.bring(self._index)
        trained = Trained(job, block)
        parameters = list(block.parameters())
        taught = [value.to(walk.device, torch.float32) for value in dense]
        found = []
        with in_float32(parameters):
            with trained.held():
                parts = find_parts(job.model, job.anatomy.of_block(self._index), self._trial, self._pruned[0])
            for place, part in enumerate(parts):

                def advance(fraction: float, place: int = place, name: str = part.name) -> None:
                    tick((place + fraction) / len(parts), name)

                advance(0.0)
                began = time.monotonic()
                with part.alone(), holding(parameters, taught):
                    self._advance(self._dense)
                passing = time.monotonic() - began
                allowed = seconds and seconds / len(parts) - PASSES * passing
                with part.alone(), trained.held():
                    losses = self._descend(trained, advance, allowed, part.name)
                found.append({"block": self._index, "part": part.name} | losses)
        trained.keep()
        return found

    def _descend(self, trained: Trained, tick: Callable[[float], None], seconds: float | None, part: str) -> dict:
        """Adapts what runs now, and moves the pruned stream on through it as it will be stored."""
        walk, settings = self._walk, self._settings
        with torch.no_grad():
            before = mean(float(self._loss(number)) for number in range(walk.count))
        extent, what = settings.extent(walk.batches, seconds), f"{part} of block {self._index}"
        steps = descend(trained, self._loss, walk.count, extent, settings.rate, tick, what)
        trained.round()
        return {"before": before, "after": self._advance(self._pruned, self._dense), "steps": steps}

    def _trial(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._walk.through(self._index, 0, hidden)

    def _loss(self, number: int) -> torch.Tensor:
        return relative_error(self._through(number, self._pruned), self._dense[number].to(self._walk.device))

    def _through(self, number: int, stream: Activations) -> torch.Tensor:
        with mixed_precision(self._walk.device):
            return self._walk.through(self._index, number, stream[number]).float()

    @torch.no_grad()
    def _advance(self, stream: Activations, target: Activations | None = None) -> float:
        """Moves a stream on through what runs now; how far it then is from `target`."""
        error = 0.0
        for number in range(self._walk.count):
            made = self._through(number, stream)
            if target is not None:
                error += float(relative_error(made, target[number].to(self._walk.device)))
            stream[number] = made
        return error / self._walk.count


def relative_error(made: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean over tokens of ||made - target||^2 / ||target||^2, for streams [B, T, H]."""
    return ((made - target).square().sum(-1) / target.square().sum(-1).clamp_min(1e-12)).mean()
