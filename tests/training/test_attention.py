"""Attention in blocks: the same numbers as torch's, and only where it may be."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from training import attention
from training.attention import attend, attention_for


@pytest.mark.parametrize("length", [1, 7, 8, 21])
@pytest.mark.parametrize("heads", [2, 6])
def test_values_and_gradients_are_those_of_torch(monkeypatch, length, heads):
    monkeypatch.setattr(attention, "BLOCK", 8)
    shapes = [(3, heads, length, 4), (3, 2, length, 4), (3, 2, length, 4)]
    ours = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    direction = torch.randn(3, heads, length, 4, dtype=torch.float64)
    output, _ = attend(None, *ours, None)
    wanted = scaled_dot_product_attention(*theirs, is_causal=True, enable_gqa=True)
    assert torch.allclose(output.transpose(1, 2), wanted)
    output.transpose(1, 2).backward(direction)
    wanted.backward(direction)
    for one, two in zip(ours, theirs, strict=True):
        assert torch.allclose(one.grad, two.grad)


def test_a_llama_gives_the_same_logits_and_gets_its_own_attention_back(tiny_model):
    model = tiny_model()
    before, ids = model.config._attn_implementation, torch.arange(2, 62).view(2, 30)
    wanted = model(ids).logits
    with attention_for(model):
        assert model.config._attn_implementation == attention.NAME
        assert torch.allclose(model(ids, use_cache=False).logits, wanted, atol=1e-5)
    assert model.config._attn_implementation == before


@pytest.mark.parametrize(("family", "options"), [("gpt2", {}), ("mistral", {}), ("llama", {"attention_dropout": 0.1})])
def test_other_models_are_left_alone(tiny_model, family, options):
    model = tiny_model(family, **options)
    before = model.config._attn_implementation
    with attention_for(model):
        assert model.config._attn_implementation == before != attention.NAME
