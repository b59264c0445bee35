"""bitsandbytes as a layout: near the dense model, counted rightly, silent, and only there when it is asked for."""

import subprocess
import sys

import pytest
import torch

from evals.cost.memory import measure
from models import load
from models.errors import RequestError
from models.memory import parameter_bytes, parameter_count
from pruning.packing.bits_and_bytes import LAYOUTS
from pruning.packing.format import Format
from pruning.packing.install import is_packed, pack
from pruning.packing.layout import apply_layout, check_layout, in_layout

IDS = torch.tensor([[5, 9, 2, 77, 31, 8, 200, 14]])
SHAPE = dict(hidden_size=128, intermediate_size=256)
# Of the size of a weight: nf4 has about 9 % of error, int8 below one.
ERROR = {"bnb-int8": 0.03, "bnb-nf4": 0.25}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_a_model_in_it_is_near_the_dense_one(tiny_model, layout, family):
    shape = SHAPE if family != "gpt2" else dict(n_embd=128)
    model = tiny_model(family, **shape).to(torch.bfloat16)
    quantised = in_layout(model, layout)
    with torch.no_grad():
        hidden, found = (each(IDS, output_hidden_states=True).hidden_states[1] for each in (model, quantised))
    assert (found - hidden).norm() <= ERROR[layout] * hidden.norm() and not torch.equal(found, hidden)
    assert quantised.generate(IDS, max_new_tokens=4, do_sample=False, pad_token_id=0).shape == (1, 12)


@pytest.mark.parametrize("layout,bits", [("bnb-int8", 8), ("bnb-nf4", 4.5)])
def test_parameters_and_bytes_are_counted(tiny_model, layout, bits):
    model = tiny_model("llama", **SHAPE).to(torch.bfloat16)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[:7] = 0
    before = measure(model)
    quantised = in_layout(model, layout)
    projections = sum(p.numel() for name, p in model.named_parameters() if "_proj" in name)
    saved = parameter_bytes(model) - parameter_bytes(quantised)
    assert saved == pytest.approx(projections * (16 - bits) / 8, rel=0.05)
    after = measure(quantised)
    assert parameter_count(quantised) == parameter_count(model) == after.parameters
    assert after.nonzero_parameters == before.nonzero_parameters


def test_a_packed_model_is_unpacked_for_it(tiny_model):
    model = tiny_model("llama", **SHAPE)
    pack(model, Format.parse("auto"))
    apply_layout(model, "bnb-int8")
    assert not is_packed(model)


def test_a_name_with_the_layout_loads_it_and_nothing_is_logged(tiny_folder):
    folder = tiny_folder("llama", **SHAPE)
    code = (
        "import sys, pruning; from models import load\n"
        "assert 'bitsandbytes' not in sys.modules\n"
        f"loaded = load({str(folder) + '::bnb-int8'!r}, device='cpu', dtype='bfloat16')\n"
        "ids = loaded.tokenizer('The river', return_tensors='pt').input_ids\n"
        "print(loaded.description.dtype, loaded.model.generate(ids, max_new_tokens=3, do_sample=False).shape[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["bfloat16", "1"], done.stderr
    assert "cast" not in done.stderr and "kernels" not in done.stderr


def test_without_bitsandbytes_one_line_says_what_to_install(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    model = tiny_model("llama")
    with pytest.raises(RequestError, match="pip install bitsandbytes"):
        apply_layout(model, "bnb-nf4")
    with torch.no_grad():
        assert model(IDS).logits.isfinite().all()


def test_a_layout_that_there_is_not_is_refused_with_those_that_there_are(tiny_folder):
    with pytest.raises(RequestError, match="bnb-int8"):
        check_layout("bnb-int4")
    with pytest.raises(RequestError, match="bnb-nf4"):
        load(f"{tiny_folder()}::nf4")
