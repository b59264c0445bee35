"""Roles: every family's projections, by structure."""

import pytest
import torch
from torch import nn

from models.errors import RequestError
from pruning.anatomy.roles import find_anatomy


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2", "opt", "falcon", "deepseek_v3"])
def test_weights_are_seen_as_outputs_by_inputs_and_written_through(tiny_model, family):
    model = tiny_model(family)
    for projection in find_anatomy(model).of_block(0):
        assert model.get_submodule(projection.name) is projection.module
        assert model.get_parameter(projection.parameter_name) is projection.parameter is projection.module.weight
        inputs = torch.randn(3, projection.columns)
        bias = projection.module.bias
        expected = inputs @ projection.weight.t() + (0 if bias is None else bias)
        assert torch.allclose(projection.module(inputs), expected, atol=1e-6)
        assert (projection.rows, projection.columns) == tuple(projection.weight.shape)
        projection.weight[0, 1] = 7.0
        stored = projection.module.weight.detach()
        assert float(stored[1, 0] if projection.transposed else stored[0, 1]) == 7.0


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_experts_are_seen_one_by_one_and_written_through(tiny_model, family):
    model = tiny_model(family)
    experts = [entry for entry in find_anatomy(model).of_block(1) if entry.expert is not None]
    assert {entry.name for entry in experts} == {
        f"model.layers.1.mlp.experts.{expert}.{part}_proj" for expert in range(4) for part in ("gate_up", "down")
    }
    for entry in experts:
        assert (entry.rows, entry.columns) == ((128, 32) if entry.role == "expert_gate_up" else (32, 64))
        assert entry.transposed == (family == "gpt_oss")
        entry.weight[3, 5] = 7.0
        stored = model.get_parameter(entry.parameter_name).detach()[entry.expert]
        assert float(stored[5, 3] if entry.transposed else stored[3, 5]) == 7.0
        assert torch.equal(entry.part(entry.parameter * 2), entry.weight * 2)


def test_experts_of_another_form_are_not_guessed(tiny_model):
    model = tiny_model("mixtral")
    experts = model.model.layers[0].mlp.experts
    experts.gate_up_proj = nn.Parameter(torch.zeros(4, 96, 32))  # three times the inner width: not gate and up
    with pytest.raises(RequestError, match=r"experts\.gate_up_proj \(4x96x32 in a MixtralExperts\)") as caught:
        find_anatomy(model)
    assert "experts.down_proj (4x32x64" in str(caught.value)


def test_a_router_is_never_pruned(tiny_model):
    model = tiny_model("llama")
    for layer in model.model.layers:
        layer.mlp.gate = nn.Linear(32, 4)
    assert not any(projection.name.endswith(".gate") for projection in find_anatomy(model).projections)


def test_every_unknown_part_is_named_with_its_shape_in_one_line(tiny_model):
    model = tiny_model("llama")
    model.model.layers[1].mlp.twist_proj = nn.Linear(32, 16)
    for layer in model.model.layers:
        layer.mlp.mixer = nn.Module()
        layer.mlp.mixer.weights = nn.Parameter(torch.zeros(4, 8, 8))
    with pytest.raises(RequestError) as caught:
        find_anatomy(model)
    says = str(caught.value)
    assert "model.layers.1.mlp.twist_proj (16 outputs, 32 inputs)" in says
    assert "model.layers.0.mlp.mixer.weights (4x8x8 in a Module, likewise in 2 more)" in says
    assert "\n" not in says and says.count("likewise") == 1


def test_a_model_without_blocks_is_refused():
    with pytest.raises(RequestError, match="no list of blocks"):
        find_anatomy(nn.Sequential(nn.Linear(4, 4)))
