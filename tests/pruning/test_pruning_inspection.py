"""`inspect`: what can be pruned, from the configuration alone, and what the files hold."""

import json

import pytest
import torch
from transformers import AutoConfig

from models.memory import OutOfMemory
from pruning import PruningConfig, prune
from pruning.anatomy import inspection
from pruning.anatomy.capability import skeleton, take_capability
from pruning.commands.cli import main
from pruning.saved.saving import save_pruned

pytestmark = pytest.mark.usefixtures("unchecked")

TEXTS = ["The gardener ties the young branches to the wall. "] * 40


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "qwen2_moe", "deepseek_v3", "gpt_oss"])
def test_every_parameter_is_accounted_for_without_any_number(tiny_model, family, tmp_path):
    model = tiny_model(family)
    capability = take_capability(model)
    kept = capability.never_pruned
    assert capability.prunable + sum(kept.values()) == capability.parameters == model.num_parameters()
    assert (kept["head"] == 0) == model.config.tie_word_embeddings
    assert kept["embeddings"] == sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding))
    model.config.save_pretrained(tmp_path)
    assert take_capability(skeleton(tmp_path)) == capability


def test_storage_experts_and_patterns_are_told(tiny_model):
    capability = take_capability(tiny_model("gpt_oss"))
    roles = {role.role: role for role in capability.roles}
    assert roles["expert_gate_up"].storage == ("fused", "transposed", "stacked")
    assert roles["expert_gate_up"].shapes == ((128, 32),) and roles["expert_gate_up"].count == 12
    assert capability.experts == 4 and capability.never_pruned["routers"] == 3 * 4 * 32
    assert capability.patterns["2:4"] == capability.projections == 36
    assert capability.patterns["block:32x1"] == 30  # k and v have 16 outputs
    odd = take_capability(tiny_model("llama", intermediate_size=62))
    assert odd.patterns["2:4"] == 18 and odd.patterns["unstructured"] == 21  # down reads 62 inputs


def test_a_dense_model_in_words_and_in_json(tiny_folder, capsys):
    folder = str(tiny_folder("mixtral"))
    assert main(["inspect", folder]) == 0
    shown = capsys.readouterr().out
    assert "mixtral (MixtralForCausalLM), 3 blocks" in shown and "Experts: 4 a block" in shown
    assert "128x32" in shown and "routers 384" in shown and "0.00 % of the" in shown
    assert main(["inspect", folder, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["capability"]["prunable"] == told["census"]["prunable"]
    roles = {role["role"]: role for role in told["capability"]["roles"]}
    assert roles["expert_gate_up"] == {
        "role": "expert_gate_up", "count": 12, "shapes": [[128, 32]], "parameters": 12 * 128 * 32,
        "share": 12 * 128 * 32 / told["capability"]["parameters"], "storage": ["fused", "stacked"],
    }  # fmt: skip
    assert told["family"] == "mixtral" and told["agrees"] is None


def test_a_pruned_mixture_agrees_with_its_record(tiny_model, tiny_tokenizer, tmp_path, capsys):
    model = tiny_model("gpt_oss")
    report = prune(model, tiny_tokenizer, PruningConfig(pattern="2:4", samples=4, sequence_length=32), TEXTS)
    save_pruned(model, tiny_tokenizer, report, tmp_path / "out")
    found = inspection.inspect(str(tmp_path / "out"))
    assert found.agrees and {entry.pattern for entry in found.projections} == {"2:4"} and found.census.sparsity == 0.5
    assert main(["inspect", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("50.00 %") == 3 * 6 + 1 and "agrees with" in shown


def test_a_configuration_alone_is_enough_for_the_report(tmp_path, capsys):
    config = AutoConfig.for_model("llama", architectures=["LlamaForCausalLM"])  # 7 B: made of no numbers
    config.save_pretrained(tmp_path)
    assert main(["inspect", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "32 blocks, 6.74 B parameters" in shown and "not counted: the folder holds no safetensors" in shown
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["census"] is None and told["projections"] == [] and told["capability"]["projections"] == 224


def test_weights_that_do_not_fit_still_leave_the_report(tiny_folder, capsys, monkeypatch):
    def refuse(*_, **__):
        raise OutOfMemory("it needs 2 TiB")

    monkeypatch.setattr(inspection, "load", refuse)
    assert main(["inspect", str(tiny_folder("llama"))]) == 0
    assert "not counted: it needs 2 TiB" in capsys.readouterr().out


def test_an_unknown_architecture_is_one_line_that_names_all_its_parts(tmp_path, capsys):
    config = AutoConfig.for_model("mamba", num_hidden_layers=3, hidden_size=32, architectures=["MambaForCausalLM"])
    config.save_pretrained(tmp_path)
    assert main(["inspect", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert not shown.out and len(shown.err.strip().splitlines()) == 1
    for part in ("A_log (64x16", "conv1d.weight (64x1x4 in a Conv1d", "in_proj (128 outputs, 32 inputs"):
        assert f"backbone.layers.0.mixer.{part}" in shown.err
    assert "likewise in 2 more" in shown.err


def test_a_broken_configuration_is_one_line(tmp_path, capsys):
    config = AutoConfig.for_model("llama", architectures=["LlamaForCausalLM"])
    config.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text().replace('"hidden_act": "silu"', '"hidden_act": "sigh"')
    (tmp_path / "config.json").write_text(text)
    assert main(["inspect", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert "No model can be made from" in shown and len(shown.strip().splitlines()) == 1
