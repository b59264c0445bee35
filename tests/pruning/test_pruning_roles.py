"""Roles: every family's projections, by structure."""

import pytest
import torch
from torch import nn

from models.errors import RequestError
from pruning.census import take_census
from pruning.roles import find_anatomy

SEPARATE = ["q", "k", "v", "o", "gate", "up", "down"]
EXPECTED = {
    "llama": SEPARATE, "mistral": SEPARATE, "qwen2": SEPARATE, "qwen3": SEPARATE, "gemma2": SEPARATE,
    "phi3": ["qkv", "o", "gate_up", "down"], "gpt2": ["qkv", "o", "up", "down"],
    "gpt_neox": ["qkv", "o", "up", "down"], "opt": ["q", "k", "v", "o", "up", "down"],
    "bloom": ["qkv", "o", "up", "down"],
}  # fmt: skip


@pytest.mark.parametrize("family", EXPECTED)
def test_every_family_is_understood(tiny_model, family):
    model = tiny_model(family)
    anatomy = find_anatomy(model)
    assert len(anatomy.blocks) == 3
    for index in range(3):
        assert sorted(entry.role for entry in anatomy.of_block(index)) == sorted(EXPECTED[family])
    for projection in anatomy.projections:
        assert model.get_submodule(projection.name) is projection.module
    # Nothing of two dimensions in a block is left out, and nothing outside the blocks is in.
    matrices = sum(parameter.numel() for parameter in anatomy.blocks.parameters() if parameter.ndim == 2)
    assert take_census(model).prunable == matrices


@pytest.mark.parametrize("family", EXPECTED)
def test_weights_are_seen_as_outputs_by_inputs_and_written_through(tiny_model, family):
    for projection in find_anatomy(tiny_model(family)).of_block(1):
        inputs = torch.randn(3, projection.columns)
        bias = projection.module.bias
        expected = inputs @ projection.weight.t() + (0 if bias is None else bias)
        assert torch.allclose(projection.module(inputs), expected, atol=1e-6)
        assert (projection.rows, projection.columns) == tuple(projection.weight.shape)
        projection.weight[0, 1] = 7.0
        stored = projection.module.weight.detach()
        assert float(stored[1, 0] if projection.transposed else stored[0, 1]) == 7.0


def test_a_router_is_never_pruned(tiny_model):
    model = tiny_model("llama")
    for layer in model.model.layers:
        layer.mlp.gate = nn.Linear(32, 4)
    assert not any(projection.name.endswith(".gate") for projection in find_anatomy(model).projections)


def test_unknown_parts_are_named(tiny_model):
    model = tiny_model("llama")
    model.model.layers[1].mlp.twist_proj = nn.Linear(32, 16)
    with pytest.raises(RequestError, match=r"model\.layers\.1\.mlp\.twist_proj \(16 outputs, 32 inputs\)"):
        find_anatomy(model)
    model = tiny_model("llama")
    model.model.layers[0].mlp.experts = nn.Module()
    model.model.layers[0].mlp.experts.weights = nn.Parameter(torch.zeros(4, 8, 8))
    with pytest.raises(RequestError, match=r"experts\.weights.*4x8x8"):
        find_anatomy(model)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(RequestError, match="no list of like blocks"):
        find_anatomy(nn.Sequential(nn.Linear(4, 4)))
