"""A cell of a sweep saves its pruned model in the dtype of the dense one's files, whatever it was computed in."""

import pytest
import torch
from safetensors.torch import load_file

from evals.sweeping.cell import _prune
from models.console.progress import silent


@pytest.mark.parametrize("fast", [True, False], ids=["a-CPU-with-bf16", "a-CPU-without"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_cell_keeps_the_stored_dtype(monkeypatch, tiny_model, tiny_tokenizer, tmp_path, dtype, fast):
    monkeypatch.setattr("models.policy._cpu_multiplies_bfloat16", lambda: fast)
    folder, out = tmp_path / "dense", tmp_path / "pruned"
    tiny_model("llama").to(dtype).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    request = {
        "model": str(folder), "name": str(out), "check": False, "identity": {},
        "pruning": {"method": "wanda", "samples": 4, "sequence_length": 32},
        "evaluation": {"device": "cpu", "dtype": "auto"},
    }  # fmt: skip
    _prune(request, silent)
    before, after = load_file(folder / "model.safetensors"), load_file(out / "model.safetensors")
    for name, tensor in after.items():
        kept = tensor != 0
        assert tensor.dtype == dtype and torch.equal(tensor[kept], before[name][kept])
