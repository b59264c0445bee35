"""Distillation: a student learns the teacher's next-token distribution beside the text itself.

The loss of Hinton, Vinyals and Dean 2015, section 2, at every position with its weight w:

    h * CE(student, next token) + (1 - h) * T^2 * KL(softmax(teacher / T) || softmax(student / T))

T^2 keeps the gradient of the soft part at one size whatever the temperature T is.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from models.errors import RequestError
from training.loss import CHUNK


class Distillation:
    """The loss of a student under a frozen teacher, to be given to `training.loop.train(..., loss=...)`.

    `hard` is the share h of the plain next-token loss, 0..1. Teacher and student must have one vocabulary.
    Raises RequestError for a temperature that is not positive, or a share outside 0..1.
    """

    def __init__(self, teacher: nn.Module, temperature: float = 2.0, hard: float = 0.5):
        if temperature <= 0 or not 0 <= hard <= 1:
            raise RequestError("Distillation needs a temperature above 0 and a share of the hard loss in 0..1.")
        self.teacher = teacher.eval().requires_grad_(False)
        self.temperature = temperature
        self.hard = hard

    def __call__(self, student: nn.Module, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The weighted mean over the targets, in nats; ids [B, L + 1], weights [B, L]."""
        with torch.no_grad():
            taught = self.teacher(input_ids=ids[:, :-1], use_cache=False).logits
        logits = student(input_ids=ids[:, :-1], use_cache=False).logits
        if logits.shape != taught.shape:
            raise RequestError(
                f"The teacher has {taught.shape[-1]} tokens, the student {logits.shape[-1]}: use one tokenizer."
            )
        rows = max(1, CHUNK[ids.device.type] // logits.shape[-1])  # no fp32 copy of all logits
        parts = (logits.flatten(0, 1), taught.flatten(0, 1), ids[:, 1:].flatten(), weights.flatten())
        total = torch.zeros((), device=ids.device)
        for some, other, targets, counts in zip(*(part.split(rows) for part in parts), strict=True):
            hard, soft = token_losses(some, other, targets, self.temperature)
            total = total + ((self.hard * hard + (1 - self.hard) * soft) * counts).sum()
        return total / weights.sum().clamp_min(1e-6)


def token_losses(
    student: torch.Tensor, teacher: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and T^2 times the KL divergence of every target, [N] each; logits [N, V], targets [N]."""
    student = student.float()
    hard = cross_entropy(student, targets, reduction="none")
    divergence = kl_div(
        (student / temperature).log_softmax(-1),
        (teacher.float() / temperature).log_softmax(-1),
        reduction="none",
        log_target=True,
    )
    return hard, temperature**2 * divergence.sum(-1)
