"""Loading a packed folder: no dense weight exists at any time, so its peak is the packed weights and one matrix."""

import json

import pytest
import torch

from models.memory import parameter_bytes
from pruning.anatomy.roles import find_anatomy
from pruning.packing.folder import write_model
from pruning.packing.format import Format
from pruning.packing.install import pack, packed_layers

SHAPE = dict(
    hidden_size=512, intermediate_size=2048, num_attention_heads=8, num_key_value_heads=8, num_hidden_layers=12
)
SLACK = 12 << 20  # what libraries allocate on the way


@pytest.mark.parametrize("format", ["auto", "int8"])
def test_the_peak_of_loading_is_the_packed_weights_and_one_matrix(tiny_model, run_cli, tmp_path, format):
    model = tiny_model("llama", **SHAPE).to(torch.bfloat16)
    dense = parameter_bytes(model)
    with torch.no_grad():
        for projection in find_anatomy(model).projections:
            projection.weight[torch.rand(projection.weight.shape) < 0.6] = 0
    pack(model, Format.parse(format))
    write_model(model, tmp_path)
    done = run_cli("benchmarks/packed_loading.py", "--child", tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    largest = max(layer.storage.bytes for layer in packed_layers(model).values())
    assert told["bytes"] == pytest.approx(parameter_bytes(model), abs=1024)  # frequencies of rotary embeddings
    bound = told["bytes"] + largest + SLACK
    assert told["peak"] <= bound < dense  # what a dense copy on the way would break
