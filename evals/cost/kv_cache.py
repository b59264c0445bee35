"""The key-value cache in bytes: what a model's real cache holds after a forward pass, and what a token adds to it.

Counted over the storages of the cache's tensors, a shared one once, so that grouped queries, latent attention,
sliding windows and recurrent states each cost what they cost in this implementation. For full attention it comes to
2 x layers x kv_heads x head_dim x item bytes for every token.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

MOST_TOKENS = 64


@dataclass(frozen=True)
class KvCache:
    """Bytes that each of the first `tokens` tokens adds to the cache of one text, over all layers.

    `beyond_window` is what a token adds once every sliding window is full (None where no layer has one), `window` the
    length of the shortest. `constant` is what does not grow at all, such as recurrent states. `layers` counts the
    layers by their kind in the cache.
    """

    bytes_per_token: float
    tokens: int
    constant: int
    window: int | None
    beyond_window: float | None
    layers: dict[str, int]


def cache_bytes(cache: "DynamicCache") -> int:
    """Bytes of the storages that the cache holds."""
    return sum(layer_bytes(layer) for layer in cache.layers)


def layer_bytes(layer: object) -> int:
    """Bytes of the storages of one layer's tensors; markers of a few bytes, which have no batch, do not count."""
    storages = {}
    for tensor in _tensors(list(vars(layer).values())):
        if tensor.ndim > 1:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def measure_cache(model: "PreTrainedModel", ids: list[int], most: int = MOST_TOKENS) -> KvCache:
    """Reads up to `most` of the ids (fewer where a sliding window is shorter) and counts what each added.

    The prompt is read at half and at full length: the difference is what grows, the rest is constant.
    """
    from transformers import DynamicCache

    windows = [layer.sliding_window for layer in DynamicCache(config=model.config).layers if is_sliding(layer)]
    window = min(windows, default=None)
    # A sliding layer keeps window - 1 tokens for the next one to see.
    tokens = max(2, min(most, len(ids), (window or most + 1) - 1))
    half = tokens // 2
    less, more = (_read(model, ids[:count]) for count in (half, tokens))
    grown = [layer_bytes(after) - layer_bytes(before) for before, after in zip(less.layers, more.layers, strict=True)]
    lasting = [size for size, layer in zip(grown, more.layers, strict=True) if not is_sliding(layer)]
    kinds = [type(layer).__name__ for layer in more.layers]
    per_token = sum(grown) / (tokens - half)
    return KvCache(
        bytes_per_token=per_token,
        tokens=tokens,
        constant=round(cache_bytes(more) - per_token * tokens),
        window=window,
        beyond_window=sum(lasting) / (tokens - half) if window else None,
        layers={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
    )


def is_sliding(layer: object) -> bool:
    """Whether a layer of the cache keeps only a window of the last tokens."""
    return bool(getattr(layer, "is_sliding", False))


@torch.inference_mode()
def _read(model: "PreTrainedModel", ids: list[int]) -> "DynamicCache":
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    device = next(model.parameters()).device
    model(input_ids=torch.tensor([ids], device=device), past_key_values=cache, use_cache=True)
    return cache


def _tensors(values: list) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple, dict)):
            yield from _tensors(list(value.values()) if isinstance(value, dict) else list(value))
