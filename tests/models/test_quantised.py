"""Quantised checkpoints: refused by name, with the remedy, before a weight is read."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import load
from models.errors import RequestError
from models.formats.checking import check_weights
from models.formats.quantised import refuse_quantised_config
from models.source import locate
from pruning.anatomy import inspection

CONFIGS = [
    ({"quant_method": "gptq", "bits": 4}, r"gptq, 4 bits"),
    ({"quant_method": "awq", "w_bit": 4, "version": "gemm"}, r"awq, 4 bits"),
    ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors"),
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, 4 bits"),
    ({"load_in_8bit": True}, "bitsandbytes, 8 bits"),
    ({"quant_method": "mxfp4"}, "mxfp4"),
    ({"quant_method": "torchao"}, "torchao"),
    ({"quant_method": "of next year"}, "of next year"),
    ({}, "does not name"),
    ([], "does not name"),
]


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


@pytest.fixture
def untouched(monkeypatch):
    """No weight may be read."""
    monkeypatch.setattr("models.loading._load_weights", lambda *_: pytest.fail("weights were read"))


@pytest.mark.parametrize("entry", ["quantization_config", "compression_config"])
@pytest.mark.parametrize(("settings", "words"), CONFIGS, ids=[words for _, words in CONFIGS])
def test_a_quantised_configuration_is_refused(folder, untouched, settings, words, entry):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {entry: settings}))
    for use in (lambda: load(str(folder), "cpu"), lambda: inspection.inspect(str(folder))):
        with pytest.raises(RequestError, match=rf"is quantised \(.*{words}.*use the original") as caught:
            use()
        assert caught.value.exit_code == 2


def test_the_part_about_text_counts_and_null_does_not():
    refuse_quantised_config("a", {"model_type": "llama", "quantization_config": None, "text_config": {}})
    with pytest.raises(RequestError, match="gptq"):
        refuse_quantised_config("a", {"text_config": {"quantization_config": {"quant_method": "gptq"}}})


@pytest.mark.parametrize("name", ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
def test_a_quantiser_s_own_file_is_enough(folder, untouched, name):
    (folder / name).write_text("{}")
    with pytest.raises(RequestError, match=f"as {name} says"):
        load(str(folder), "cpu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda name, weight: {name: weight.to(torch.float8_e4m3fn)}, "F8_E4M3"),
        (lambda name, weight: {name: weight.to(torch.int8)}, "I8"),
        (lambda name, weight: {name.replace("weight", "qweight"): weight.to(torch.int32)}, "gptq or awq"),
        (lambda name, weight: {name: weight, f"{name}_scale_inv": weight[:1, :1].clone()}, "fp8"),
        (lambda name, weight: {name: weight, f"{name}.absmax": weight[:1, 0].clone()}, "bitsandbytes"),
    ],
)
def test_quantised_tensors_are_refused_whatever_the_configuration_says(folder, untouched, change, words):
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors |= change(name, tensors.pop(name))
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(RequestError, match=f"is quantised.*{words}.*use the original"):
        load(str(folder), "cpu")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gpt_oss", "bloom", "deepseek_v3", "qwen3_moe"])
def test_ordinary_models_are_not_taken_for_quantised_ones(tiny_folder, family):
    assert check_weights(locate(str(tiny_folder(family))))
