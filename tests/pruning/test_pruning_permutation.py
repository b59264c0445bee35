"""Channel permutation for N:M: the model computes the same, more score is kept, and it is found again."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning import PruningConfig, prune
from pruning.anatomy.coupled_channels import find_coupled_channels
from pruning.anatomy.inspection import keeps_pattern
from pruning.anatomy.roles import find_anatomy
from pruning.job import Job
from pruning.numerics.permutation import best_order, kept_score, reorder
from pruning.pipeline import preview
from pruning.plan import Plan

TEXTS = ["The gardener ties the young branches to the wall and cuts what grows away from it. " * 40]
FOLDED = {  # which roles have inputs that are free to move
    "llama": {"o", "down"}, "qwen2": {"o", "down"}, "qwen3": {"o", "down"}, "gemma3_text": {"o", "down"},
    "olmo2": {"o", "down"}, "opt": {"o", "down"}, "phi": {"o", "down"}, "gptj": {"o", "down"},
    "starcoder2": {"o", "down"}, "stablelm": {"o", "down"}, "phi3": {"down"}, "glm4": {"o", "down"},
    "gpt2": {"down"}, "gpt_neox": {"down"}, "bloom": {"down"}, "falcon": {"down"}, "mpt": {"down"},
    "mixtral": {"o", "expert_down"}, "qwen2_moe": {"o", "expert_down", "down"}, "deepseek_v2": {"down", "expert_down"},
    "gpt_oss": {"o"},
}  # fmt: skip


def logits(model) -> torch.Tensor:
    ids = torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


def disturb(model) -> None:
    """Biases and norms that are not all equal: else moving them could not be told from leaving them."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.rand(parameter.shape, generator=generator)
            else:
                parameter *= 4


@pytest.mark.parametrize("family", FOLDED)
def test_the_model_computes_the_same_in_any_order(tiny_model, family):
    model = tiny_model(family)
    disturb(model)
    anatomy = find_anatomy(model)
    folds = find_coupled_channels(model, anatomy.projections)
    assert {fold.consumer.role for fold in folds} == FOLDED[family]
    for role in FOLDED[family]:
        everywhere = sum(entry.role == role for entry in anatomy.projections)
        assert sum(fold.consumer.role == role for fold in folds) == everywhere
    dense, state = logits(model), {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    orders = {}
    for fold in folds:
        heads = [torch.randperm(fold.width, generator=generator) for _ in range(fold.heads)]
        orders[fold.consumer.name] = tuple(torch.cat(heads).tolist())
    job = Job(model, anatomy, PruningConfig(), lambda: None, undo_steps=[])
    reorder(job, orders)
    for fold in folds:
        assert not torch.equal(fold.consumer.weight, find_weight(state, fold.consumer))
        for producer in fold.producers:
            assert not torch.equal(producer.weight, find_weight(state, producer))
    assert torch.allclose(logits(model), dense, rtol=1e-4, atol=1e-6 * float(dense.abs().max()))
    job.undo()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def find_weight(state: dict, entry) -> torch.Tensor:
    return entry.part(state[entry.parameter_name])


def test_a_norm_between_forbids_it(tiny_model):
    model = tiny_model("llama")
    model.model.layers[1].mlp.sub_norm = torch.nn.LayerNorm(64)
    folds = find_coupled_channels(model, find_anatomy(model).projections)
    assert [fold.consumer.block for fold in folds if fold.consumer.role == "down"] == [0, 2]


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 6),
    runs=st.integers(1, 7),
    shape=st.sampled_from([(2, 4), (1, 4), (4, 8), (1, 2), (4, 4)]),
    seed=st.integers(0, 99),
)
def test_an_order_keeps_no_less_and_loses_no_channel(rows, runs, shape, seed):
    kept, of = shape
    scores = torch.rand(rows, runs * of, generator=torch.Generator().manual_seed(seed)) ** 4
    order = best_order(scores, kept, of)
    assert sorted(order.tolist()) == list(range(runs * of))
    assert torch.equal(order, best_order(scores, kept, of))
    before, after = (kept_score(some.reshape(rows, runs, of), kept).sum() for some in (scores, scores[:, order]))
    assert after >= before * (1 - 1e-12)


def test_strong_channels_that_lie_together_are_spread():
    scores = torch.tensor([[9.0, 8.0, 7.0, 6.0, 0.0, 0.0, 0.0, 0.0]]).repeat(3, 1)
    order = best_order(scores, 2, 4)
    assert kept_score(scores[:, order].reshape(3, 2, 4), 2).sum() == 3 * 30


@pytest.mark.parametrize("method", ["magnitude", "wanda", "gblm"])
def test_permuted_pruning_keeps_more_and_replays(tiny_model, tiny_tokenizer, method):
    options = dict(method=method, samples=4, sequence_length=24)
    permuted = PruningConfig(pattern="2:4:permuted", **options)
    model = tiny_model("llama")
    planned = preview(model, tiny_tokenizer, permuted, TEXTS)
    report = prune(model, tiny_tokenizer, permuted, TEXTS)
    assert [entry.order for entry in planned.projections] == [entry.order for entry in report.plan.projections]
    assert Plan.from_dict(json.loads(json.dumps(report.plan.as_dict()))) == report.plan
    assert all(keeps_pattern(entry.weight) == "2:4" for entry in find_anatomy(model).projections)
    assert any("6 of 21 projections (down, o)" in text and "(gate, k, q, up, v)" in text for text in report.warnings)
    again = tiny_model("llama")
    prune(again, tiny_tokenizer, permuted, TEXTS, plan=report.plan)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    if method == "magnitude":
        plain = tiny_model("llama")
        prune(plain, tiny_tokenizer, PruningConfig(pattern="2:4", **options), TEXTS)
        for layer, other in zip(model.model.layers, plain.model.layers, strict=True):
            for part in ("self_attn.o_proj", "mlp.down_proj"):
                kept, before = (one.get_submodule(part).weight.abs().sum() for one in (layer, other))
                assert kept > before


def test_a_head_that_m_does_not_divide_is_left_alone(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")  # heads of 8 channels
    planned = preview(model, tiny_tokenizer, PruningConfig(method="magnitude", pattern="8:16:permuted"), TEXTS)
    assert {entry.role for entry in planned.projections if entry.order} == {"down"}


def test_a_failed_run_takes_the_order_back(tiny_model, tiny_tokenizer):
    model = tiny_model("opt")
    disturb(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def stop(fraction: float, message: str) -> None:
        if "Pruning block 3" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(model, tiny_tokenizer, PruningConfig(method="magnitude", pattern="2:4:permuted"), TEXTS, stop)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
