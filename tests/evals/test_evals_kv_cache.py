"""Bytes of the real cache against the formula, in families whose caches differ."""

import types

import pytest
import torch

from evals.cost.kv_cache import cache_bytes, layer_bytes, measure_cache
from models.forward.state import open_state

IDS = list(range(2, 120))
FULL = {  # family: key-value heads, head size
    "llama": (2, 8),
    "gpt2": (4, 8),
    "falcon": (1, 8),
    "bloom": (4, 8),
}


@pytest.mark.parametrize("family", FULL)
def test_full_attention_costs_two_by_layers_by_heads_by_their_size(family, tiny_model):
    heads, size = FULL[family]
    found = measure_cache(tiny_model(family), IDS)
    assert found.bytes_per_token == 2 * 3 * heads * size * 4
    assert (found.tokens, found.constant, found.window, found.beyond_window) == (64, 0, None, None)
    assert found.layers == {"DynamicLayer": 3}


def test_a_narrower_dtype_takes_half(tiny_model):
    assert measure_cache(tiny_model().bfloat16(), IDS).bytes_per_token == 2 * 3 * 2 * 8 * 2


def test_a_sliding_layer_stops_growing_at_its_window(tiny_model):
    model = tiny_model("gemma2", sliding_window=16)  # two of three layers slide
    found = measure_cache(model, IDS)
    assert found.bytes_per_token == 2 * 3 * 2 * 8 * 4
    assert (found.window, found.tokens) == (16, 15)
    assert found.beyond_window == found.bytes_per_token / 3
    assert found.layers == {"DynamicSlidingWindowLayer": 2, "DynamicLayer": 1}
    grown = [_generated(model, tokens) for tokens in (40, 41)]
    assert grown[1] - grown[0] == found.beyond_window


def test_latent_attention_costs_what_its_cache_holds(tiny_model):
    model = tiny_model("deepseek_v3")
    found = measure_cache(model, IDS)
    assert found.bytes_per_token * 30 == _generated(model, 30)


def test_few_ids_are_enough(tiny_model):
    assert measure_cache(tiny_model(), IDS[:3]).bytes_per_token == 2 * 3 * 2 * 8 * 4


def test_a_shared_storage_counts_once_and_a_marker_not_at_all():
    block = torch.zeros(1, 2, 5, 4)
    others = {"marker": torch.tensor(7), "states": {0: torch.ones(2, 3)}}
    layer = types.SimpleNamespace(keys=block, values=block[..., 2:], **others)
    assert layer_bytes(layer) == 4 * (40 + 6)


@torch.inference_mode()
def _generated(model, tokens):
    """Bytes of the cache after so many tokens, the last of them on its own."""
    state = open_state(model)
    for piece in (IDS[: tokens - 1], IDS[tokens - 1 : tokens]):
        state.read(torch.tensor([piece]))
    return cache_bytes(state.cache)
