"""What a forward call names the keys and values of earlier tokens: transformers 5.24 renamed it, and warns at the old name."""

import inspect
from collections.abc import Callable
from functools import cache

from torch import nn


def cache_argument(model: nn.Module) -> str:
    """`cache` if the forward of that module (a model, a block or an attention) has it, else `past_key_values`."""
    return name_in(type(model).forward)


@cache
def name_in(forward: Callable) -> str:
    """The same for a forward function. Decorators that keep the signature are looked through."""
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"
