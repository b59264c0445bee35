"""Counting what is not zero by the bits gives what torch counts."""

import pytest
import torch

from models.counting import count_nonzero

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.int64, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_what_torch_counts_whatever_the_layout(dtype, monkeypatch):
    monkeypatch.setattr("models.counting.AT_ONCE", 7)
    numbers = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0)).mul_(2).round()
    numbers[0, 0, 0] = -0.0
    tensor = numbers.to(dtype)
    views = (tensor, tensor[1], tensor[1].t(), tensor[:, 1::2], tensor.permute(2, 0, 1), tensor[0, 0, 0], tensor[:0])
    for view in views:
        assert count_nonzero(view) == int(torch.count_nonzero(view))
    if tensor.is_floating_point():
        tensor[0, 0] = torch.tensor([float("nan"), float("inf"), -0.0, torch.finfo(dtype).tiny, -1], dtype=dtype)
        assert count_nonzero(tensor[0, 0]) == 4
