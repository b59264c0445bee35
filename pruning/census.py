"""A model in counts: how many parameters it has, how many are not zero, how many bytes they take."""

from dataclasses import asdict, dataclass

import torch
from torch import nn

from models.memory import parameter_bytes
from pruning.roles import find_anatomy


@dataclass(frozen=True)
class Census:
    """Counts of a model's parameters, tied ones once. `prunable` are the weights of the projections in its blocks.

    bytes: of all parameters and buffers as they lie in memory, zeros included.
    """

    parameters: int
    nonzero: int
    bytes: int
    prunable: int
    prunable_zeros: int

    @property
    def sparsity(self) -> float:
        """Zeros among the prunable weights, as a fraction."""
        return self.prunable_zeros / max(self.prunable, 1)

    def as_dict(self) -> dict:
        """The counts as JSON types."""
        return asdict(self)


def take_census(model: nn.Module) -> Census:
    """Counts a causal language model of transformers. UnknownArchitecture if its projections are not known."""
    parameters = list(model.parameters())
    projections = find_anatomy(model).projections
    return Census(
        parameters=sum(parameter.numel() for parameter in parameters),
        nonzero=sum(count_nonzero(parameter) for parameter in parameters),
        bytes=parameter_bytes(model),
        prunable=sum(projection.weight.numel() for projection in projections),
        prunable_zeros=sum(projection.weight.numel() - count_nonzero(projection.weight) for projection in projections),
    )


def count_nonzero(tensor: torch.Tensor) -> int:
    """How many elements are not zero."""
    return int(torch.count_nonzero(tensor.detach()))
