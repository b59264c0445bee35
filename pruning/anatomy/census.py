"""A model in counts: how many parameters it has, how many are not zero, how many bytes they take."""

from dataclasses import asdict, dataclass

from torch import nn

from models.counting import count_nonzero
from models.memory import parameter_bytes
from pruning.anatomy.roles import find_anatomy


@dataclass(frozen=True)
class Census:
    """Counts of a model's parameters, tied ones once. `prunable` are the weights of the projections in its blocks.

    bytes: of all parameters and buffers as they lie in memory, zeros included; `prunable_bytes` of the prunable ones.
    packed_bytes: if each prunable weight was stored as one bit, and the values that are not zero after that.
    """

    parameters: int
    nonzero: int
    bytes: int
    prunable: int
    prunable_zeros: int
    prunable_bytes: int
    packed_bytes: int

    @property
    def sparsity(self) -> float:
        """Zeros among the prunable weights, as a fraction."""
        return self.prunable_zeros / max(self.prunable, 1)

    def as_dict(self) -> dict:
        """The counts as JSON types."""
        return asdict(self)


def count_parameters(model: nn.Module) -> Census:
    """Counts a causal language model of transformers. UnknownArchitecture if its projections are not known."""
    parameters = list(model.parameters())
    weights = [projection.weight for projection in find_anatomy(model).projections]
    zeros = [weight.numel() - count_nonzero(weight) for weight in weights]
    size = parameter_bytes(model)
    saved = sum(weight.element_size() * count for weight, count in zip(weights, zeros, strict=True))
    return Census(
        parameters=sum(parameter.numel() for parameter in parameters),
        nonzero=sum(count_nonzero(parameter) for parameter in parameters),
        bytes=size,
        prunable=sum(weight.numel() for weight in weights),
        prunable_zeros=sum(zeros),
        prunable_bytes=sum(weight.nbytes for weight in weights),
        packed_bytes=size - saved + sum(-(-weight.numel() // 8) for weight in weights),
    )
