"""Distillation of the whole pruned model from the dense one, on the calibration text.

The loss is the forward KL divergence of the pruned model's next-token distribution from the dense model's. Of the dense
model only what it gives its head is kept: the head, which is not trained, makes its logits again beside the pruned
model's.
"""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import kl_div
from torch.utils.checkpoint import checkpoint

from models.errors import RequestError
from pruning.adaptation.descent import descend
from pruning.adaptation.settings import Cost, Settings
from pruning.adaptation.weights import Trained, evaluating
from pruning.collect.blockwise import Batch
from pruning.registry import register
from training.attention import attention_for
from training.loop import mixed_precision

if TYPE_CHECKING:
    from models.console.progress import Progress
    from pruning.job import Job

SETTINGS = Settings(tokens=131_072, text=131_072, batch=512, rate=2e-4)
ROWS = 256  # tokens of which logits are compared at once
WHAT = "the distillation"


@register("recover", "distill", needs=("logits",))
class Distill:
    """All weights that stay learn to predict what the dense model predicted, on the calibration text; minutes."""

    def __init__(self, job: Job, settings: Settings = SETTINGS):
        if job.model.get_output_embeddings() is None:
            raise RequestError(
                f"{type(job.model).__name__} has no head that can be found, from which --recover distill could learn: "
                "use --recover reconstruct, or omit --recover."
            )
        if job.device is not None and job.device.type != next(job.model.parameters()).device.type:
            raise RequestError("--recover distill trains the whole model at once: omit --offload, or --recover.")
        self._job = job
        self._settings = settings
        self._batches: list[Batch] = []
        self._beside_now = torch.empty(0)
        self._taught: list[torch.Tensor] = []  # what the dense model gives its head, [B, T, H] of each batch

    def cost(self, tokens: int) -> Cost:
        """What it takes with a calibration text of so many tokens: each weight in fp32, its gradient, two moments."""
        model = self._job.model
        taught = min(tokens, self._settings.text) * model.config.get_text_config().hidden_size * model.dtype.itemsize
        weights = sum(entry.weight.numel() for entry in self._job.anatomy.projections)
        return Cost(self._settings.cost(tokens, 1), 16 * weights + taught)

    @torch.no_grad()
    def begin(self) -> None:
        """Runs the dense model over the text."""
        model, head = self._job.model, self._job.model.get_output_embeddings()
        self._batches = self._settings.batches(self._job.windows)
        hook = head.register_forward_pre_hook(lambda _, given: self._taught.append(given[0].to("cpu")))
        try:
            with evaluating(model):
                for batch in self._batches:
                    model(**batch.inputs(next(model.parameters()).device), use_cache=False)
        finally:
            hook.remove()

    def run(self, progress: Progress, seconds: float | None) -> dict:
        """Trains. EspalierError if the loss or a weight is not finite."""
        job, model = self._job, self._job.model
        trained = Trained(job, model)
        losses: list[float] = []

        def loss(number: int) -> torch.Tensor:
            value = self._divergence(number)
            losses.append(float(value.detach()))
            return value

        def tick(fraction: float) -> None:
            away = f", {mean(losses[-8:]):.3f} nats from the dense model" if losses else ""
            progress(fraction, f"Distilling{away}")

        head = model.get_output_embeddings()
        extent = self._settings.extent(self._batches, seconds)
        with evaluating(model), attention_for(model), trained.held():
            hook = head.register_forward_pre_hook(self._beside)
            try:
                steps = descend(trained, loss, len(self._batches), extent, self._settings.rate, tick, WHAT)
            finally:
                hook.remove()
        trained.round()
        trained.keep()
        some = max(1, steps // 10)
        return {"steps": steps, "first": mean(losses[:some]), "last": mean(losses[-some:])}

    def _divergence(self, number: int) -> torch.Tensor:
        """The mean KL divergence over the tokens of a batch, in nats."""
        model, batch = self._job.model, self._batches[number]
        self._beside_now = self._taught[number]
        device = next(model.parameters()).device
        with mixed_precision(device):
            logits = model(**batch.inputs(device), use_cache=False).logits
        made, taught = (part.flatten(0, 1) for part in logits.chunk(2))
        # Again backwards, so that no fp32 copy of all logits waits for it.
        parts = [
            checkpoint(divergence, some, other, use_reentrant=False)
            for some, other in zip(made.split(ROWS), taught.detach().split(ROWS), strict=True)
        ]
        return torch.stack(parts).sum() / len(made)

    def _beside(self, head: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Both models' inputs of the head as one batch: what the model makes of its logits it makes of both."""
        return torch.cat([given[0], self._beside_now.to(given[0])]), *given[1:]


def divergence(made: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """The KL divergence of the distributions with logits `made` from those with logits `taught` [N, V], summed."""
    return kl_div(made.float().log_softmax(-1), taught.float().log_softmax(-1), reduction="sum", log_target=True)
