"""The key-value cache in bytes: what a model's real state holds after a forward pass, and what a token adds to it.

Counted over the storages of the cache's tensors, a shared one once, so that grouped queries, latent attention,
sliding windows and recurrent states each cost what they cost in this implementation. For full attention it comes to
2 x layers x kv_heads x head_dim x item bytes for every token.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from models.forward.state import State

MOST_TOKENS = 64


@dataclass(frozen=True)
class KvCache:
    """Bytes that each of the first `tokens` tokens adds to the cache of one text, over all layers.

    `beyond_window` is what a token adds once every sliding window is full (None where no layer has one), `window` the
    length of the shortest. `constant` is what does not grow at all, such as recurrent states. `layers` counts the
    layers by their kind in the cache, and `name` says what carries the state (`models.forward.state`).
    """

    bytes_per_token: float
    tokens: int
    constant: int
    window: int | None
    beyond_window: float | None
    layers: dict[str, int]
    name: str = "DynamicCache"


def cache_bytes(cache: Any) -> int:
    """Bytes of the storages that a model's state holds: none where nothing is carried."""
    return sum(layer_bytes(layer) for layer in layers_of(cache))


def layers_of(cache: Any) -> list:
    """The parts of a model's state that lie apart: the layers of transformers' caches, else all in one."""
    if not hasattr(cache, "layers"):
        return [] if cache is None else [cache]
    beside = {name: value for name, value in vars(cache).items() if name != "layers"}
    return [*cache.layers, *([beside] if any(True for _ in _tensors([beside])) else [])]


def layer_bytes(layer: object) -> int:
    """Bytes of the storages of one layer's tensors; markers of a few bytes, which have no batch, do not count."""
    storages = {}
    for tensor in _tensors([layer if isinstance(layer, (list, tuple, dict)) else vars(layer)]):
        if tensor.ndim > 1:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def measure_cache(model: "PreTrainedModel", ids: list[int], most: int = MOST_TOKENS) -> KvCache:
    """Reads up to `most` of the ids (fewer where a sliding window is shorter) and counts what each added.

    The prompt is read at half and at full length: the difference is what grows, the rest is constant.
    """
    windows = [layer.sliding_window for layer in layers_of(_read(model, ids[:1]).cache) if is_sliding(layer)]
    window = min(windows, default=None)
    # A sliding layer keeps window - 1 tokens for the next one to see.
    tokens = max(2, min(most, len(ids), (window or most + 1) - 1))
    half = tokens // 2
    less, more = (_read(model, ids[:count]) for count in (half, tokens))
    layers = layers_of(more.cache)
    pairs = zip(layers_of(less.cache), layers, strict=True)
    grown = [layer_bytes(after) - layer_bytes(before) for before, after in pairs]
    lasting = [size for size, layer in zip(grown, layers, strict=True) if not is_sliding(layer)]
    kinds = [type(layer).__name__ for layer in layers]
    per_token = sum(grown) / (tokens - half)
    return KvCache(
        bytes_per_token=per_token,
        tokens=tokens,
        constant=round(cache_bytes(more.cache) - per_token * tokens),
        window=window,
        beyond_window=sum(lasting) / (tokens - half) if window else None,
        layers={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        name=more.name,
    )


def is_sliding(layer: object) -> bool:
    """Whether a layer of the cache keeps only a window of the last tokens."""
    return bool(getattr(layer, "is_sliding", False))


@torch.inference_mode()
def _read(model: "PreTrainedModel", ids: list[int]) -> "State":
    from models.forward.state import State, carriage_of

    state = State(model, carriage_of(model))
    state.read(torch.tensor([ids], device=next(model.parameters()).device))
    return state


def _tensors(values: list) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple, dict)):
            yield from _tensors(list(value.values()) if isinstance(value, dict) else list(value))
