"""The optimizers: Muon for the matrices inside the decoder blocks and AdamW for the rest, or AdamW for all."""

import warnings

import torch
from torch import nn

from models.policy import choose_dtype

OPTIMIZERS = ("muon", "adamw")


def make_optimizers(
    model: nn.Module, learning_rate: float, weight_decay: float, name: str = "muon"
) -> list[torch.optim.Optimizer]:
    """`muon`: orthogonalised momentum, its step scaled to AdamW's size, on 2-D weights that are not embeddings.

    A torch without Muon (before 2.9) takes AdamW for all, and a warning says so.
    """
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.ndim == 2 and id(p) not in embeddings]
    others = [p for p in parameters if p.ndim != 2 or id(p) in embeddings]
    adam = {"lr": learning_rate, "betas": (0.9, 0.95), "fused": True}
    if name == "muon" and hasattr(torch.optim, "Muon"):
        device = next(model.parameters()).device
        if device.type == "cpu" and choose_dtype(device) is not torch.bfloat16:
            text = "This CPU does not multiply bfloat16, in which Muon works: AdamW is many times faster here."
            warnings.warn(text, stacklevel=2)
        first = torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    else:
        if name == "muon":
            warnings.warn(f"torch {torch.__version__} has no Muon: AdamW trains the matrices, too.", stacklevel=2)
        first = torch.optim.AdamW(matrices, weight_decay=weight_decay, **adam)
    return [first, torch.optim.AdamW(others, weight_decay=0.0, **adam)]
