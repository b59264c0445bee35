"""bitsandbytes' int8 and nf4 in the place of a model's projections: what a pruned model in int8 is compared with.

Optional: nothing is imported before it is asked for. The head stays as it is, as transformers leaves it.
"""

from __future__ import annotations

import logging
import math
import warnings
from typing import TYPE_CHECKING

from models.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

LAYOUTS = ("bnb-int8", "bnb-nf4")
NF4_BLOCK = 64  # weights that share a scale


def apply_bits_and_bytes(model: PreTrainedModel, layout: str) -> PreTrainedModel:
    """The model with its projections in `bnb-int8` (LLM.int8()) or `bnb-nf4`, in place, on its device.

    Experts that share one parameter stay as they are. Zeros are quantised like any weight: no byte is saved by them.
    Raises RequestError if bitsandbytes is not installed, or has no kernels for the device.
    """
    from pruning.anatomy.roles import find_anatomy
    from pruning.packing.install import is_packed, replace, unpack

    layers = _layers()
    if is_packed(model):
        unpack(model)
    model.requires_grad_(False)
    for projection in find_anatomy(model).projections:
        if projection.expert is not None:
            continue
        device = projection.weight.device
        try:
            layer = layers[layout](projection.weight.contiguous(), projection.module.bias).to(device)
        except (RuntimeError, NotImplementedError) as error:
            raise RequestError(
                f"bitsandbytes cannot make {layout} on {device.type} ({error}): use the layout int8 instead."
            ) from error
        layer.kept = int(projection.weight.count_nonzero())
        replace(model, projection.name, layer)
    return model


def _layers() -> dict:
    # It tells on import what it would rather have, and for every product of every token that bf16 inputs become fp16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="bitsandbytes")
    try:
        import bitsandbytes
    except ImportError as error:
        raise RequestError(f"{' and '.join(LAYOUTS)} need bitsandbytes: pip install bitsandbytes.") from error

    def int8(weight: torch.Tensor, bias: nn.Parameter | None) -> nn.Module:
        rows, columns = weight.shape
        layer = bitsandbytes.nn.Linear8bitLt(columns, rows, bias is not None, has_fp16_weights=False, device="meta")
        layer.weight = bitsandbytes.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
        layer.bias = bias
        layer.unlisted_bytes = 4 * rows  # its scales are no parameters
        return layer

    def nf4(weight: torch.Tensor, bias: nn.Parameter | None) -> nn.Module:
        rows, columns = weight.shape
        layer = bitsandbytes.nn.Linear4bit(
            columns, rows, bias is not None, compute_dtype=weight.dtype, quant_type="nf4", device="meta"
        )
        layer.weight = bitsandbytes.nn.Params4bit(weight.cpu(), requires_grad=False, quant_type="nf4")
        layer.bias = bias
        layer.unlisted_bytes = 4 * math.ceil(weight.numel() / NF4_BLOCK)
        layer.unstored = weight.numel() - math.ceil(weight.numel() / 2)  # two weights to a byte
        return layer

    return {"bnb-int8": int8, "bnb-nf4": nf4}
