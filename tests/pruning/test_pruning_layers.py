"""Removing whole blocks: which go, and that what is left is an ordinary model."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.errors import RequestError
from pruning import PruningConfig, prune, replay
from pruning.anatomy.roles import find_anatomy
from pruning.structures.layers import blocks_to_remove

TEXTS = ["The gardener ties the young branches to the wall.", "A tree that is pruned well bears more fruit."] * 20
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "gpt2", "gpt_neox", "opt", "bloom"]
DEPTH = {"gpt2": "n_layer", "bloom": "n_layer"}


def six_blocks(tiny_model, family: str):
    return tiny_model(family, **{DEPTH.get(family, "num_hidden_layers"): 6})


def remove_third(model, tokenizer):
    settings = PruningConfig(structure="layers", sparsity=1 / 3, samples=4, sequence_length=16)
    return prune(model, tokenizer, settings, calibration=TEXTS)


def greedy(model, use_cache: bool) -> list[int]:
    prompt = torch.arange(2, 10)[None]
    options = dict(max_new_tokens=12, min_new_tokens=12, do_sample=False, use_cache=use_cache, pad_token_id=0)
    return model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)[0].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_result_is_an_ordinary_shallower_model(tiny_model, tiny_tokenizer, tmp_path, family):
    model = six_blocks(tiny_model, family)
    dense = copy.deepcopy(model)
    report = remove_third(model, tiny_tokenizer)
    assert len(find_anatomy(model).blocks) == model.config.num_hidden_layers == 4
    assert report.saves_memory and report.saves_time and report.after.bytes < report.before.bytes
    text = greedy(model, use_cache=True)
    assert text == greedy(model, use_cache=False)

    model.save_pretrained(tmp_path)
    fresh, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert fresh.config.num_hidden_layers == 4
    assert greedy(fresh.eval(), use_cache=True) == text

    replay(dense, tiny_tokenizer, report.as_dict())
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in dense.state_dict().items())


def test_the_blocks_of_least_influence_go_and_never_the_ends(tiny_model, tiny_tokenizer):
    model = six_blocks(tiny_model, "llama")
    hidden = []
    handles = [
        block.register_forward_hook(lambda module, args, output: hidden.append((args[0], output)))
        for block in model.model.layers
    ]
    report = remove_third(copy.deepcopy(model), tiny_tokenizer)
    scores = report.plan.blocks.scores
    assert set(report.plan.blocks.removed) == set(sorted(range(1, 5), key=lambda index: scores[index])[:2])

    from pruning.calibrating.windows import calibration_windows

    settings = PruningConfig(structure="layers", sparsity=1 / 3, samples=4, sequence_length=16)
    hidden.clear()
    for batch in calibration_windows(model, tiny_tokenizer, settings, TEXTS).batches:
        with torch.no_grad():
            model(batch.ids)
    for handle in handles:
        handle.remove()
    expected = [float(1 - torch.cosine_similarity(given, output, dim=-1).double().mean()) for given, output in hidden]
    assert list(scores) == pytest.approx(expected, abs=1e-6)


def test_even_a_useless_first_or_last_block_stays(tiny_model, tiny_tokenizer):
    model = six_blocks(tiny_model, "llama")
    with torch.no_grad():
        for index in (0, 2, 5):  # blocks that add nothing to the residual stream
            model.model.layers[index].self_attn.o_proj.weight.zero_()
            model.model.layers[index].mlp.down_proj.weight.zero_()
    settings = PruningConfig(structure="layers", sparsity=1 / 6, samples=4, sequence_length=16)
    report = prune(model, tiny_tokenizer, settings, calibration=TEXTS)
    assert report.plan.blocks.removed == (2,)


def test_per_block_settings_follow_their_block(tiny_model, tiny_tokenizer):
    kinds = ["sliding_attention", "full_attention"] * 3
    model = tiny_model("gemma2", num_hidden_layers=6, layer_types=kinds, sliding_window=8)
    report = remove_third(model, tiny_tokenizer)
    assert model.config.layer_types == [kinds[index] for index in report.plan.blocks.kept]
    assert [block.self_attn.layer_idx for block in model.model.layers] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("count", "sparsity", "going"), [(6, 0.0, 0), (6, 0.5, 3), (6, 0.25, 2), (5, 0.5, 3), (12, 0.1, 1)]
)
def test_how_many_blocks_a_sparsity_means(count, sparsity, going):
    assert blocks_to_remove(count, sparsity) == going


@pytest.mark.parametrize(
    ("count", "sparsity", "says"), [(6, 0.05, "rounds to none"), (6, 0.8, "at most"), (2, 0.5, "at most")]
)
def test_too_few_and_too_many_are_refused(count, sparsity, says):
    with pytest.raises(RequestError, match=says):
        blocks_to_remove(count, sparsity)


def test_a_plan_for_another_depth_is_not_replayed(tiny_model, tiny_tokenizer):
    record = remove_third(six_blocks(tiny_model, "llama"), tiny_tokenizer).as_dict()
    with pytest.raises(RequestError, match="made for 6 blocks and this model has 3"):
        replay(tiny_model("llama"), tiny_tokenizer, record)
