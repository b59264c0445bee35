"""The result is in the dtype of the files on every machine, and what is not changed keeps its bits."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import load
from models.policy import choose_dtype
from models.precision import computing_dtype, computing_in
from pruning import PruningConfig, prune
from pruning.commands.cli import main
from pruning.dense import load_dense

pytestmark = pytest.mark.usefixtures("unchecked")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TEXTS = ["The gardener ties the young branches to the wall and cuts what grows away from it. " * 20]


@pytest.fixture(params=[True, False], ids=["a-CPU-with-bf16", "a-CPU-without"])
def machine(request, monkeypatch):
    monkeypatch.setattr("models.policy._cpu_multiplies_bfloat16", lambda: request.param)
    return request.param


@pytest.fixture
def stored(tiny_model, tiny_tokenizer, tmp_path):
    """A factory of folders whose tensors are in a dtype: `stored(torch.float16) -> Path`."""

    def make(dtype: torch.dtype, family: str = "llama", **options):
        folder = tmp_path / f"dense-{str(dtype).removeprefix('torch.')}"
        tiny_model(family, **options).to(dtype).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return make


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def go(folder, out, *options: str) -> None:
    common = ["--samples", "4", "--sequence-length", "32", "--device", "cpu"]
    assert main(["prune", str(folder), "--out", str(out), *common, *options]) == 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_without_a_solver_every_weight_that_stays_keeps_its_bits(stored, tmp_path, machine, dtype, method):
    folder = stored(dtype)
    go(folder, tmp_path / "out", "--method", method)
    before, after = weights(folder), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert tensor.dtype == dtype
        kept = tensor != 0
        assert torch.equal(tensor[kept], before[name][kept])
        assert 0.45 < float(kept.float().mean()) < 0.55 if "proj" in name else bool(kept.float().mean() > 0.9)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_solver_s_weights_are_saved_in_the_dtype_of_the_files(stored, tmp_path, machine, dtype):
    folder = stored(dtype)
    go(folder, tmp_path / "out", "--method", "wanda", "--solver", "refit")
    before, after = weights(folder), weights(tmp_path / "out")
    assert {tensor.dtype for tensor in after.values()} == {dtype}
    assert all(torch.equal(after[name], before[name]) for name in after if "proj" not in name)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blocks_that_stay_keep_their_bits(stored, tmp_path, machine, dtype):
    folder = stored(dtype, num_hidden_layers=4)
    go(folder, tmp_path / "out", "--structure", "layers", "--sparsity", "0.25")
    kept = json.loads((tmp_path / "out" / "pruning.json").read_text())["plan"]["blocks"]["kept"]
    before, after = weights(folder), weights(tmp_path / "out")
    for name, tensor in after.items():
        source = name
        if ".layers." in name:
            place = name.split(".")[2]
            source = name.replace(f".{place}.", f".{kept[int(place)]}.", 1)
        assert tensor.dtype == dtype and torch.equal(tensor, before[source])


def test_packing_on_the_way_keeps_the_dtype_too(stored, tmp_path, machine):
    folder = stored(torch.float32)
    go(folder, tmp_path / "packed", "--method", "magnitude", "--pack")
    assert main(["unpack", str(tmp_path / "packed"), "--out", str(tmp_path / "plain")]) == 0
    before, after = weights(folder), weights(tmp_path / "plain")
    for name, tensor in after.items():
        kept = tensor != 0
        assert tensor.dtype == torch.float32 and torch.equal(tensor[kept], before[name][kept])


def test_a_dtype_that_is_asked_for_is_that_of_the_result(stored, tmp_path, machine):
    go(stored(torch.float32), tmp_path / "out", "--method", "magnitude", "--dtype", "bfloat16")
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.bfloat16}


def test_the_report_counts_bytes_of_the_dtype_of_the_files(stored, tmp_path, machine):
    folder = stored(torch.bfloat16)
    go(folder, tmp_path / "out", "--method", "wanda")
    record = json.loads((tmp_path / "out" / "pruning.json").read_text())
    assert record["before"]["prunable_bytes"] == 2 * record["before"]["prunable"]
    assert record["before"]["bytes"] == record["after"]["bytes"]
    planned = record["plan"]["projections"]
    assert all(entry["bytes_before"] == 2 * entry["rows"] * entry["columns"] for entry in planned)


def test_a_parameter_that_is_wider_by_design_stays_so(stored, tmp_path, machine):
    """DeepSeek's routers correct their scores in fp32, whatever the rest is in."""
    folder = stored(torch.bfloat16, "deepseek_v3")
    file = folder / "model.safetensors"
    tensors = weights(folder)
    names = [name for name in tensors if name.endswith("e_score_correction_bias")]
    assert names
    tensors |= {name: torch.linspace(0.1, 0.7, len(tensors[name])) for name in names}
    save_file(tensors, file, {"format": "pt"})
    go(folder, tmp_path / "out", "--method", "magnitude")
    after = weights(tmp_path / "out")
    for name in names:
        assert after[name].dtype == torch.float32 and torch.equal(after[name], tensors[name])
    assert {after[name].dtype for name in after if "proj" in name} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("usual", "stored_in", "device", "computed"),
    [
        (torch.float32, torch.float32, CPU, torch.float32),
        (torch.float32, torch.bfloat16, CPU, torch.float32),
        (torch.float32, torch.float16, CPU, torch.float32),
        (torch.bfloat16, torch.float32, CPU, torch.float32),
        (torch.bfloat16, torch.bfloat16, CPU, torch.bfloat16),
        (torch.bfloat16, torch.float16, CPU, torch.float32),
        (torch.bfloat16, torch.float16, CUDA, torch.float16),
        (torch.bfloat16, torch.float32, CUDA, torch.float32),
        (torch.float16, torch.bfloat16, CUDA, torch.float32),
    ],
    ids=str,
)
def test_what_is_computed_in_holds_what_is_stored(monkeypatch, usual, stored_in, device, computed):
    monkeypatch.setattr("models.precision.choose_dtype", lambda _: usual)
    assert computing_dtype(device, stored_in) == computed


def test_the_model_is_as_it_was_after_a_failure(tiny_model, tiny_tokenizer):
    model = tiny_model("llama").to(torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def stop(fraction: float, message: str) -> None:
        assert next(model.parameters()).dtype == torch.float32 or fraction == 0
        if "Pruning block 2" in message:
            raise KeyboardInterrupt

    settings = PruningConfig(samples=4, sequence_length=32)
    with pytest.raises(KeyboardInterrupt):
        prune(model, tiny_tokenizer, settings, TEXTS, stop, computed=torch.float32)
    after = model.state_dict()
    assert all(after[name].dtype == torch.bfloat16 and torch.equal(after[name], before[name]) for name in before)


def test_tied_weights_are_still_tied(tiny_model):
    model = tiny_model("llama", tie_word_embeddings=True).to(torch.float16)
    with computing_in(model, torch.float32) as own:
        assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
        assert set(own.values()) == {torch.float16}
    assert model.lm_head.weight is model.model.embed_tokens.weight and model.lm_head.weight.dtype == torch.float16
    with computing_in(model, None) as own:
        assert not own


def test_loading_says_what_it_rounds(stored, monkeypatch, caplog):
    monkeypatch.setattr("models.policy._cpu_multiplies_bfloat16", lambda: True)
    folder = stored(torch.float32)
    with caplog.at_level(logging.WARNING, "espalier"):
        description = load(str(folder), "cpu").description
    assert choose_dtype(CPU) == torch.bfloat16 and description.dtype == "bfloat16"
    (note,) = description.notes
    assert "float32" in note and "bfloat16" in note and "\n" not in note and note in caplog.text
    assert load(str(folder), "cpu", "bfloat16").description.notes == ()  # which is what was asked for
    assert load(str(folder), "cpu", "stored").description.dtype == "float32"
    assert load(str(stored(torch.bfloat16)), "cpu").description.notes == ()


def test_files_of_several_dtypes_are_told(stored, machine):
    folder = stored(torch.bfloat16)
    tensors = weights(folder)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    loaded, computed = load_dense(str(folder), "cpu", "auto")
    assert loaded.model.dtype == torch.bfloat16 and computed == (None if machine else torch.float32)
    (note,) = loaded.description.notes
    assert f"{len(tensors['model.norm.weight'])} of" in note and "float32" in note


def test_a_dtype_that_no_model_is_loaded_in_is_told(stored):
    folder = stored(torch.float64)
    loaded, _ = load_dense(str(folder), "cpu", "auto")
    (note,) = loaded.description.notes
    assert "float64" in note
