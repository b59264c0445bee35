"""How exactly fp32 matrices are multiplied, set for a while and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def exact_matmul():
    """fp32 matrices are multiplied in fp32: no TF32 on CUDA, no bf16 on the CPU. Puts the caller's choice back."""
    return _multiplying("highest", {"cuda": "ieee", "mkldnn": "ieee"})


def coarse_matmul():
    """fp32 matrices are multiplied as TF32 on CUDA and as bf16 on a CPU that can, with sums in fp32: faster.

    Numbers that were bf16 to begin with lose nothing by it.
    """
    return _multiplying("medium", {"cuda": "tf32", "mkldnn": "bf16"})


@contextmanager
def _multiplying(precision: str, switched: dict[str, str]) -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller chose by torch's newer switches, and mixing the two is refused
        switches = {name: getattr(torch.backends, name).matmul for name in switched}
        chosen = {name: switch.fp32_precision for name, switch in switches.items()}
        for name, switch in switches.items():
            switch.fp32_precision = switched[name]
        try:
            yield
        finally:
            for name, switch in switches.items():
                switch.fp32_precision = chosen[name]
        return
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
