"""A configuration for fewer blocks: each rule rewritten so that the saved model is the pruned one, or refused."""

import copy
import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from models.errors import RequestError
from pruning import PruningConfig, prune
from pruning.anatomy.depth import Depth
from pruning.anatomy.depth_entries import rewritings
from pruning.anatomy.realise import remove_blocks
from pruning.anatomy.roles import find_anatomy

TEXTS = ["The gardener ties the young branches to the wall.", "A tree that is pruned well bears more fruit."] * 20
SMALL = dict(
    vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=6, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, max_position_embeddings=128, bos_token_id=0, eos_token_id=0, pad_token_id=0,
)  # fmt: skip
EXPERTS = SMALL | dict(
    num_experts=4, num_experts_per_tok=2, num_local_experts=4, n_routed_experts=4, moe_num_experts=4, moe_k=2,
    moe_intermediate_size=32, shared_expert_intermediate_size=32,
)  # fmt: skip
LATENT = EXPERTS | dict(
    num_key_value_heads=4, n_shared_experts=1, kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=16,
    v_head_dim=16, n_group=1, topk_group=1,
)  # fmt: skip
SLIDING = SMALL | dict(sliding_window=4)
# A family, what decides the kinds of its blocks, and the entries that must be right for the blocks 0, 2, 3 and 5 of 6.
RULES = [
    ("deepseek_v2", LATENT | dict(first_k_dense_replace=3, topk_method="greedy"), dict(first_k_dense_replace=2)),
    ("deepseek_v3", LATENT | dict(first_k_dense_replace=2), dict(first_k_dense_replace=1)),
    ("glm4_moe", EXPERTS | dict(first_k_dense_replace=3), dict(first_k_dense_replace=2)),
    ("dots1", EXPERTS | dict(first_k_dense_replace=1, n_group=1, topk_group=1, n_shared_experts=1),
     dict(first_k_dense_replace=1)),
    ("afmoe", EXPERTS | dict(num_dense_layers=3), dict(num_dense_layers=2)),
    ("qwen3_moe", EXPERTS | dict(mlp_only_layers=[1, 3, 5]), dict(mlp_only_layers=[2, 3])),
    ("qwen3_moe", EXPERTS | dict(decoder_sparse_step=2), dict(mlp_only_layers=[0, 1], decoder_sparse_step=1)),
    ("qwen2_moe", EXPERTS | dict(decoder_sparse_step=3, mlp_only_layers=[2]), dict(mlp_only_layers=[0, 1, 2])),
    ("ernie4_5_moe", EXPERTS | dict(moe_layer_start_index=2), dict(moe_layer_start_index=1, moe_layer_end_index=3)),
    ("ernie4_5_moe", EXPERTS | dict(moe_layer_interval=2, moe_layer_start_index=0), dict(moe_layer_interval=1)),
    ("llama4_text", EXPERTS | dict(interleave_moe_layer_step=2, intermediate_size_mlp=64), dict(moe_layers=[2, 3])),
    ("smollm3", SMALL, dict(no_rope_layers=[1, 1, 0, 1])),
    ("glm4_moe_lite", LATENT, dict(mlp_layer_types=["dense", "sparse", "sparse", "sparse"])),
    ("gpt_oss", EXPERTS | dict(sliding_window=4), {}),
    ("gemma2", SLIDING, {}),
    ("gemma3_text", SLIDING, {}),
    ("cohere2", SLIDING, {}),
    ("olmo3", SLIDING, {}),
    ("phimoe", EXPERTS, {}),
    ("qwen2", SLIDING | dict(use_sliding_window=True, max_window_layers=3), {}),
    (
        "gpt_neo",
        dict(vocab_size=320, hidden_size=32, num_layers=6, num_heads=4, window_size=4, max_position_embeddings=128,
             attention_types=[[["global", "local", "local"], 2]]),
        dict(attention_layers=["global", "local", "global", "local"]),
    ),
]  # fmt: skip


def build(family: str, entries: dict):
    """A random model whose every matrix counts."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **entries), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    return model


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(2, 18)[None], use_cache=False).logits


def ids(case: tuple) -> str:
    return case[0] + "".join(f"-{name}" for name in case[2])


@pytest.mark.parametrize(("family", "entries", "expected"), RULES, ids=map(ids, RULES))
@pytest.mark.parametrize("kept", [(0, 2, 3, 5), (0, 1, 5)], ids=str)
def test_what_is_saved_is_the_pruned_model_in_plain_transformers(tmp_path, family, entries, expected, kept):
    if family == "ernie4_5_moe" and entries.get("moe_layer_interval") == 2 and kept == (0, 2, 3, 5):
        entries = entries | dict(moe_layer_start_index=3)  # blocks 3 and 5, then 2 and 3: one range
    model = build(family, entries)
    dense, before = logits(model), model.config.to_dict()
    blocks = [type(block) for block in find_anatomy(model).blocks]
    whole = [dict(block.named_parameters()) for block in find_anatomy(model).blocks]

    put_back = remove_blocks(model, find_anatomy(model), kept)
    pruned = logits(model)
    model.save_pretrained(tmp_path)
    fresh, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert torch.allclose(logits(fresh.eval()), pruned, atol=1e-5)
    for block, index in zip(find_anatomy(fresh).blocks, kept, strict=True):
        assert type(block) is blocks[index]
        assert all(torch.equal(tensor, whole[index][name]) for name, tensor in block.named_parameters())
    if kept == (0, 2, 3, 5):
        written = fresh.config.get_text_config().to_dict()
        assert {name: written[name] for name in expected} == expected

    put_back()
    assert torch.equal(logits(model), dense)
    after = model.config.to_dict()
    assert {name for name in before if before[name] != after.get(name)} == set()


def test_a_decoder_with_an_encoder_s_configuration_loses_blocks_of_the_decoder(tmp_path):
    sizes = dict(d_model=32, decoder_layers=4, encoder_layers=2, decoder_ffn_dim=64, encoder_ffn_dim=64)
    model = build("bart", sizes | dict(decoder_attention_heads=4, encoder_attention_heads=4, vocab_size=320))
    remove_blocks(model, find_anatomy(model), (0, 2, 3))
    assert model.config.decoder_layers == 3 and model.config.encoder_layers == 2
    model.save_pretrained(tmp_path)
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval()), logits(model), atol=1e-5)


def test_parts_that_call_their_number_otherwise_are_told_the_new_one():
    model = build(*RULES[-1][:2])
    remove_blocks(model, find_anatomy(model), (0, 2, 3, 5))
    assert [block.attn.layer_id for block in model.transformer.h] == [0, 1, 2, 3]


UNWRITABLE = [
    ("gpt2", dict(n_embd=32, n_layer=6, n_head=4, vocab_size=320, scale_attn_by_inverse_layer_idx=True),
     "scale_attn_by_inverse_layer_idx"),
    ("diffllama", SMALL, "self_attn.lambda_init"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "entries", "named"), UNWRITABLE, ids=lambda case: str(case)[:12])
def test_what_cannot_be_written_is_refused_by_name_before_any_text_is_read(tiny_tokenizer, family, entries, named):
    model = build(family, entries)
    weights = copy.deepcopy(model.state_dict())
    told = []
    settings = PruningConfig(structure="layers", sparsity=1 / 3, samples=4, sequence_length=16)
    with pytest.raises(RequestError, match=named) as caught:
        prune(model, tiny_tokenizer, settings, calibration=TEXTS, progress=lambda _, message: told.append(message))
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert told == []
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def alternating():
    """Dense, expert, dense, expert, ...: without block 3 alone, no rule of Ernie's describes what is left."""
    return build("ernie4_5_moe", EXPERTS | dict(moe_layer_interval=2, moe_layer_start_index=0))


def test_a_choice_that_has_no_configuration_is_refused_with_the_entry():
    model = alternating()
    with pytest.raises(RequestError, match="moe_layer_interval.*block 4, come to place 3, would have mlp"):
        remove_blocks(model, find_anatomy(model), (0, 1, 2, 4, 5))
    assert model.config.num_hidden_layers == 6 and len(model.model.layers) == 6


SCORES = [9.0, 8.0, 7.0, 1.0, 5.5, 5.0, 2.0, 9.0]  # of dense, expert, dense, ...: without 3 and 6 no rule is left


def eight():
    return build("ernie4_5_moe", EXPERTS | dict(num_hidden_layers=8, moe_layer_interval=2, moe_layer_start_index=0))


def test_of_the_choices_that_have_one_the_best_is_taken():
    depth = Depth(eight(), 8)
    assert depth.choose(SCORES, going=2) == ((0, 1, 2, 5, 6, 7), False)
    assert depth.choose([9, 8, 7, 1, 2, 5, 6, 9], going=2) == ((0, 1, 2, 5, 6, 7), True)
    assert depth.choose([9, 8, 7, 6, 5, 1, 2, 9], going=2) == ((0, 1, 2, 3, 4, 7), True)


def test_the_method_s_choice_gives_way_and_the_report_says_so(tiny_tokenizer, monkeypatch, tmp_path):
    monkeypatch.setattr("pruning.structures.layers.Layers._scores", lambda self, job: SCORES)
    model = eight()
    report = prune(model, tiny_tokenizer, PruningConfig(structure="layers", sparsity=0.25), calibration=TEXTS)
    assert report.plan.blocks.removed == (3, 4)
    assert any("least influence" in warning for warning in report.warnings)
    model.save_pretrained(tmp_path)
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval()), logits(model), atol=1e-5)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (dict(attn_layer_indices=[1, 4]), dict(attn_layer_indices=[3])),
        (dict(moe_layers=[5, 0]), dict(moe_layers=[4, 0])),
        (dict(no_rope_layers=[1, 0, 1, 0, 1, 0]), dict(no_rope_layers=[1, 1, 0, 1, 0])),
        (dict(hybrid_override_pattern="M-M*-M"), dict(hybrid_override_pattern="MM*-M")),
        (dict(per_layer_config={"5": {"head_dim": 4}, "1": {}}), dict(per_layer_config={"4": {"head_dim": 4}})),
        (dict(hidden_act="gelu_x", num_heads=6), {}),
    ],
)
def test_lists_numbers_and_tables_of_any_name_follow_their_blocks(entries, expected):
    # Of six blocks the second goes.
    kept = (0, 2, 3, 4, 5)
    assert next(rewritings(entries, kept, 6)) == expected


def test_a_limit_of_an_unknown_name_is_tried():
    tried = list(rewritings(dict(my_special_layer_limit=3), (0, 2, 3, 5), 6))
    assert dict(my_special_layer_limit=2) in tried


def test_a_plan_with_impossible_blocks_is_refused(tiny_folder, run_cli, tmp_path):
    folder = tiny_folder("qwen3_moe", num_hidden_layers=4, mlp_only_layers=[1])
    done = run_cli("pruning", "prune", folder, "--dry-run", "--json", "--structure", "layers", "--sparsity", "0.25",
                   "--samples", "4", "--sequence-length", "32")  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    record["plan"]["blocks"]["kept"] = [0, 3, 2]
    (tmp_path / "plan.json").write_text(json.dumps(record))
    done = run_cli("pruning", "prune", folder, "--plan", tmp_path / "plan.json", "--out", tmp_path / "out")
    assert done.returncode == 2 and "[0, 3, 2]" in done.stderr and not (tmp_path / "out").exists()
