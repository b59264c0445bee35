"""How many numbers of a tensor are not zero."""

import numpy as np
import torch

BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes an element
AT_ONCE = 1 << 22  # elements of which there is a copy


def count_nonzero(tensor: torch.Tensor) -> int:
    """How many elements are not zero; minus zero is zero.

    On a CPU by their bits: torch takes a hundred times as long to count numbers of two bytes.
    """
    tensor = tensor.detach()
    if tensor.device.type != "cpu" or not tensor.is_floating_point():
        return int(torch.count_nonzero(tensor))
    bits = tensor.view(BITS[tensor.element_size()])
    flat = (bits.t() if bits.dim() == 2 and not bits.is_contiguous() else bits).reshape(-1)
    return sum(int(np.count_nonzero((part << 1).numpy())) for part in flat.split(AT_ONCE))  # without the sign
