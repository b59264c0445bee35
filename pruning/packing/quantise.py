"""Weights as 8-bit integers: q = round(w / s), with the scale s = max |w| / 127 over a row or a group of inputs."""

import torch

LARGEST = 127


def quantise(weight: torch.Tensor, group: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The integers [R, C] (int8, -127 to 127) of a weight [R, C] and their scales [R, groups] (float32).

    A group without a weight other than zero has the scale 0. Raises ValueError for a weight that is not finite.
    """
    rows, columns = weight.shape
    padded = _grouped(weight.float(), group)
    largest = padded.abs().amax(-1)
    if not bool(largest.isfinite().all()):
        raise ValueError("a weight is not finite")
    scales = largest / LARGEST
    inverse = torch.where(scales > 0, 1 / scales, 0)
    # A scale so small that its inverse is infinite belongs to weights that are nothing in any sum.
    integers = (padded * inverse.nan_to_num(posinf=0)[..., None]).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return integers.reshape(rows, -1)[:, :columns].contiguous(), scales


def dequantise(integers: torch.Tensor, scales: torch.Tensor, group: int | None, dtype: torch.dtype) -> torch.Tensor:
    """The weights [R, C] of integers and scales: q s in float32, rounded to `dtype`."""
    rows, columns = integers.shape
    grouped = _grouped(integers.float(), group) * scales[..., None]
    return grouped.reshape(rows, -1)[:, :columns].to(dtype).contiguous()


def _grouped(matrix: torch.Tensor, group: int | None) -> torch.Tensor:
    """[R, groups, group], the last one padded with zeros."""
    rows, columns = matrix.shape
    group = group or max(columns, 1)
    padding = -columns % group
    return torch.nn.functional.pad(matrix, (0, padding)).reshape(rows, -1, group)
