"""Adapters of peft: merged with peft and said so, refused by name without it, never ignored."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from evals.asking.fingerprint import fingerprint
from evals.runs.run import evaluate_models
from models import load
from models.errors import RequestError
from models.formats import adapters
from models.formats.checking import check_folder
from models.loading import identity
from models.source import locate
from pruning.commands.cli import main

RANK = 2


@pytest.fixture
def whole(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder("llama"), tmp_path / "whole")


@pytest.fixture
def with_peft(monkeypatch):
    pytest.importorskip("peft")


@pytest.fixture
def without_peft(monkeypatch):
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda name: None)


def write_adapter(folder, base, layers=3, seed=0, **settings):
    """A LoRA adapter of the queries [32, 32]; returns what it adds to each layer's weight."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    tensors, added = {}, []
    for layer in range(layers):
        down, up = torch.randn(RANK, 32), torch.randn(32, RANK)
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        added.append(3.0 * up @ down)  # lora_alpha / r = 6 / 2
    save_file(tensors, folder / "adapter_model.safetensors")
    about = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": RANK, "lora_alpha": 6,
        "target_modules": ["q_proj"],
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(about | settings))
    return added


def queries(model):
    return [layer.self_attn.q_proj.weight for layer in model.model.layers]


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "alone"])
def test_an_adapter_is_merged_into_its_base_and_said(whole, tmp_path, with_peft, caplog, beside):
    dense = load(str(whole), "cpu", "float32")
    folder = whole if beside else tmp_path / "adapter"
    added = write_adapter(folder, whole)
    with caplog.at_level("WARNING", logger="espalier"):
        loaded = load(str(folder), "cpu", "float32")
    for before, after, more in zip(queries(dense.model), queries(loaded.model), added, strict=True):
        assert torch.allclose(after, before + more, atol=1e-5)
    assert type(loaded.model) is type(dense.model) and not hasattr(loaded.model, "peft_config")
    assert {name for name, _ in loaded.model.named_parameters()} == {name for name, _ in dense.model.named_parameters()}
    assert loaded.tokenizer.get_vocab() == dense.tokenizer.get_vocab()
    (note,) = loaded.description.notes
    assert "adapter" in note and "merged" in note and caplog.messages == [note]
    assert loaded.description.revision != dense.description.revision and dense.description.notes == ()


def test_what_the_adapter_holds_is_part_of_the_identity_and_the_fingerprint(whole, tmp_path, with_peft):
    adapter = tmp_path / "adapter"
    write_adapter(adapter, whole)

    def seen():
        source = locate(str(adapter))
        return identity(source), fingerprint(source, "float32", "cpu")

    found = [seen()]
    write_adapter(adapter, whole, seed=1)
    found.append(seen())
    write_adapter(adapter, whole, seed=1, lora_alpha=8)
    found.append(seen())
    (whole / "config.json").write_text((whole / "config.json").read_text() + " ")
    found.append(seen())
    assert all(len(set(values)) == 4 for values in zip(*found, strict=True))


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "alone"])
def test_without_peft_an_adapter_is_refused_by_name_before_its_base_is_looked_for(
    whole, tmp_path, without_peft, beside
):
    folder = whole if beside else tmp_path / "adapter"
    write_adapter(folder, "team/nowhere")
    with pytest.raises(RequestError, match="adapter.*kind LORA.*pip install peft.*merge_and_unload") as caught:
        locate(str(folder))
    assert ("to use the model without it" in str(caught.value)) == beside


def test_an_adapter_that_cannot_be_put_together_is_one_line(whole, tmp_path, with_peft):
    adapter = tmp_path / "adapter"
    complaints = {}

    def complain(name):
        with pytest.raises(RequestError) as caught:
            check_folder(locate(str(adapter)))
            load(str(adapter), "cpu", "float32")
        assert "\n" not in str(caught.value)
        complaints[name] = str(caught.value)

    write_adapter(adapter, adapter)
    complain("itself")
    write_adapter(adapter, "")
    complain("nothing")
    write_adapter(adapter, tmp_path / "gone")
    complain("gone")
    write_adapter(adapter, whole, layers=2)
    complain("too few")
    write_adapter(adapter, whole, layers=4)
    complain("too many")
    write_adapter(adapter, whole, peft_type="PROMPT_TUNING", num_virtual_tokens=2)
    complain("prompt")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    complain("pickle")
    (adapter / "adapter_model.bin").unlink()
    complain("no weights")
    (adapter / "adapter_config.json").write_text("[]")
    complain("list")
    words = {
        "itself": "not the weights that it belongs to", "nothing": "does not say what it was trained on",
        "gone": "There is no folder", "too few": "does not fit its base", "too many": "does not fit its base",
        "prompt": "cannot be merged", "pickle": "pickle", "no weights": "missing", "list": "a list where a JSON object",
    }  # fmt: skip
    for name, expected in words.items():
        assert expected in complaints[name] and "adapter" in complaints[name], (name, complaints[name])


def test_an_adapter_is_never_put_on_packed_weights(whole, tmp_path, with_peft):
    (whole / "packing.json").write_text("{}")
    write_adapter(tmp_path / "adapter", whole)
    with pytest.raises(RequestError, match="is packed"):
        locate(str(tmp_path / "adapter"))


def test_weights_of_an_adapter_without_its_settings_are_no_part_of_the_model(whole):
    (whole / "adapter_model.safetensors").write_bytes(b"cut off")
    assert load(str(whole), "cpu", "float32").description.notes == ()


@pytest.mark.slow
def test_the_record_of_a_pruning_and_the_results_of_a_run_say_it(whole, tmp_path, with_peft):
    write_adapter(tmp_path / "adapter", whole)
    name = str(tmp_path / "adapter")
    assert main(["prune", name, "--method", "magnitude", "--dtype", "float32", "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "pruning.json").read_text())
    assert record["dense"]["revision"] == identity(locate(name)) and "merged" in record["dense"]["notes"][0]
    assert not list((tmp_path / "out").glob("adapter*"))
    found = evaluate_models([name], metrics=["memory"], dtype="float32", quick=True, cache=None)
    assert "merged" in found["models"][0]["notes"][0] and "merged" in found["notes"][0]
