"""Mixtures of experts: what each expert is given, against routing done by hand, and experts that nothing reaches."""

import pytest
import torch
from torch.nn import functional

from models.errors import EspalierError
from pruning import PruningConfig, prune
from pruning.anatomy.experts import watch_experts
from pruning.anatomy.roles import find_anatomy
from pruning.collect.blockwise import Batch, BlockWalk
from pruning.collect.statistics import InputStatistics
from pruning.numerics.selection import keep_highest

NEEDS = ("gram", "means", "column_norms", "variances")


def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(3)
    shapes = ((2, 24), (1, 11))
    drawn = [torch.randint(2, 300, shape, generator=generator) for shape in shapes]
    return [Batch(ids, torch.ones_like(ids, dtype=torch.bool)) for ids in drawn]


def collect(model, index: int, given=None) -> InputStatistics:
    anatomy, given = find_anatomy(model), given or batches()
    statistics = InputStatistics(anatomy.of_block(index), NEEDS)
    with BlockWalk(model, anatomy.blocks, given) as walk, statistics:
        for earlier in range(index):
            walk.advance(earlier)
        walk.run(index, before=statistics.begin)
    return statistics


def routed_by_hand(model, family: str) -> dict[tuple[int, str], torch.Tensor]:
    """The inputs of every expert of block 1, from its formulas."""
    mixture, seen = model.model.layers[1].mlp, []
    handle = mixture.register_forward_pre_hook(lambda module, args: seen.append(args[0].flatten(0, 1)))
    with torch.no_grad():
        for batch in batches():
            model(input_ids=batch.ids, use_cache=False)
    handle.remove()
    tokens, experts = torch.cat(seen), mixture.experts
    router = mixture.router if family == "gpt_oss" else mixture.gate
    logits = tokens @ router.weight.t() + (router.bias if family == "gpt_oss" else 0)
    chosen = logits.topk(2).indices
    inputs = {}
    for expert in range(4):
        own = tokens[(chosen == expert).any(dim=1)]
        if family == "gpt_oss":  # stored [C, R], gate and up interleaved, clamped at 7
            both = own @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert]
            gate, up = both[:, ::2].clamp(max=7.0), both[:, 1::2].clamp(-7.0, 7.0)
            inner = (up + 1) * gate * torch.sigmoid(1.702 * gate)
        else:
            gate, up = (own @ half.t() for half in experts.gate_up_proj[expert].chunk(2))
            inner = functional.silu(gate) * up
        inputs |= {(expert, "expert_gate_up"): own.detach(), (expert, "expert_down"): inner.detach()}
    return inputs


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_experts_statistics_are_those_of_the_tokens_sent_to_them(tiny_model, family):
    model = tiny_model(family)
    statistics, expected = collect(model, 1), routed_by_hand(model, family)
    experts = [entry for entry in find_anatomy(model).of_block(1) if entry.expert is not None]
    assert sum(statistics.tokens(entry) for entry in experts if entry.role == "expert_down") == 2 * (2 * 24 + 11)
    for entry in experts:
        inputs, found = expected[entry.expert, entry.role].double(), statistics.of(entry)
        assert statistics.tokens(entry) == len(inputs) > 2
        assert torch.allclose(found["gram"].double(), inputs.t() @ inputs, rtol=1e-4, atol=1e-6)
        assert torch.allclose(found["means"], inputs.mean(dim=0), atol=1e-6)
        assert torch.allclose(found["variances"], inputs.var(dim=0, correction=0), rtol=1e-4, atol=1e-8)
        assert torch.allclose(found["column_norms"], inputs.norm(dim=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3"])
def test_every_token_is_counted_once_for_each_expert_it_is_sent_to(tiny_model, family):
    model = tiny_model(family)
    statistics = collect(model, 1)
    tokens = {}
    for entry in find_anatomy(model).of_block(1):
        tokens[entry.role] = tokens.get(entry.role, 0) + statistics.tokens(entry)
    assert tokens["expert_gate_up"] == tokens["expert_down"] == 2 * tokens["o"] == 2 * (2 * 24 + 11)
    assert tokens.get("down", tokens["o"]) == tokens["o"]  # the shared expert takes every token


def test_the_model_runs_its_experts_as_before_afterwards(tiny_model):
    model = tiny_model("mixtral")
    before = model.config._experts_implementation
    during = []
    model.model.layers[0].mlp.experts.register_forward_pre_hook(
        lambda module, args: during.append(module.config._experts_implementation)
    )
    collect(model, 0)
    assert set(during) == {"eager"} and model.config._experts_implementation == before


def test_products_of_other_things_are_left_alone(tiny_model):
    projections = find_anatomy(tiny_model("mixtral")).of_block(0)
    expert = next(entry for entry in projections if entry.role == "expert_gate_up" and entry.expert == 2)
    seen = []
    with watch_experts(projections, lambda projection, inputs: seen.append(projection.name)):
        tokens = torch.randn(5, 32)
        for vector, matrix in ((torch.randn(32), torch.randn(7, 32)), (expert.weight[0], expert.weight[:100])):
            assert torch.equal(tokens @ vector, torch.mv(tokens, vector))
            functional.linear(tokens, matrix)
        assert not seen  # a part of an expert's matrix is not the expert
        functional.linear(tokens, weight=expert.weight)
        tokens @ expert.weight.t()
    assert seen == [expert.name] * 2


def test_padding_among_the_tokens_of_experts_is_refused(tiny_model):
    given = batches()
    given[0].mask[0, -3:] = False
    with pytest.raises(EspalierError, match="windows of one length"):
        collect(tiny_model("mixtral"), 0, given)


def without_last_expert(tiny_model):
    """A Mixtral whose router sends a token to the highest of four, of which the last is the mean of the others."""
    model = tiny_model("mixtral", num_experts_per_tok=1)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight[3] = layer.mlp.gate.weight[:3].mean(dim=0)
    return model


def test_an_expert_that_no_token_reached_is_pruned_by_magnitude_and_reported(tiny_model, tiny_tokenizer):
    model = without_last_expert(tiny_model)
    alone = [entry for entry in find_anatomy(model).projections if entry.expert == 3]
    expected = [keep_highest(entry.weight.abs(), entry.columns // 2) for entry in alone]
    texts = ["The gardener ties the young branches to the wall. "] * 40
    report = prune(model, tiny_tokenizer, PruningConfig(samples=4, sequence_length=32), texts)
    for entry, keep in zip(alone, expected, strict=True):
        assert torch.equal(entry.weight != 0, keep)
    plans = {entry.name: entry for entry in report.plan.projections}
    assert {name for name, entry in plans.items() if entry.tokens == 0} >= {entry.name for entry in alone}
    assert all(plans[entry.name].dead_inputs == 0 for entry in alone)
    (warning,) = report.warnings
    reached_none = sum(entry.tokens == 0 for entry in plans.values()) // 2
    assert f"reached {reached_none} of 12 experts" in warning
    assert "their weights alone" in warning and "--samples" in warning


def test_experts_that_are_run_in_an_unknown_way_are_an_error_and_not_a_guess(tiny_model):
    model = tiny_model("mixtral")
    experts = model.model.layers[0].mlp.experts
    experts.forward = lambda hidden, index, weights: torch.einsum("th,eih->ti", hidden, experts.gate_up_proj)[:, :32]
    statistics = collect(model, 0)
    expert = next(entry for entry in find_anatomy(model).of_block(0) if entry.expert == 0)
    with pytest.raises(EspalierError, match="MixtralExperts runs them in a way that is not known"):
        statistics.of(expert)
