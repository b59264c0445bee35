"""The embedded model packed: the same texts, the same perplexity, the bytes that were promised."""

import copy

import pytest
import torch

from benchmarks.packed_layouts import same_texts
from evals.text_losses.data import load_text
from evals.text_losses.perplexity import compare, score
from models import load
from models.memory import parameter_bytes
from pruning import PruningConfig, prune
from pruning.anatomy.roles import find_blocks
from pruning.packing.fused import FusedBlock
from pruning.packing.install import packed_layers
from pruning.packing.kernels import library
from pruning.packing.layout import in_layout

PROMPTS, TOKENS = 50, 32


@pytest.fixture(scope="module")
def pruned():
    """The embedded model in fp32 without half of its weights."""
    loaded = load("embedded", device="cpu", dtype="float32")
    prune(loaded.model, loaded.tokenizer, PruningConfig("magnitude", 0.5))
    return loaded


@pytest.fixture(scope="module")
def ids(pruned):
    return pruned.tokenizer(load_text("embedded").content, return_tensors="pt", verbose=False).input_ids[0]


@pytest.mark.slow
def test_fifty_prompts_are_written_on_with_the_same_tokens(pruned, ids):
    if library.kernels() is None:
        pytest.skip(f"kernels: {library.state()}")
    packed = in_layout(pruned.model, "auto")
    models = {("pruned", "plain"): pruned, ("pruned", "packed"): pruned._replace(model=packed)}
    assert same_texts(models, ids, PROMPTS, TOKENS)["pruned", "packed"] == PROMPTS
    assert all(block.fused.whole is not None for block in packed.modules() if isinstance(block, FusedBlock))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_perplexity_is_within_a_thousandth(pruned, dtype):
    plain = pruned._replace(model=copy.deepcopy(pruned.model).to(getattr(torch, dtype)))
    packed = plain._replace(model=in_layout(plain.model, "auto"))
    text = load_text("embedded")
    ratio = compare(score(plain, text, most=24), score(packed, text, most=24))[1]
    assert ratio.metric == "perplexity_ratio" and abs(ratio.value - 1) < 1e-3


def test_half_of_the_weights_take_at_most_57_percent_of_the_bytes(pruned):
    plain = copy.deepcopy(pruned.model).to(torch.bfloat16)
    packed = in_layout(plain, "auto")
    path = find_blocks(packed)[0]
    layers = [layer for name, layer in packed_layers(packed).items() if name.startswith(path)]
    dense = sum(2 * layer.in_features * layer.out_features for layer in layers)
    assert sum(layer.storage.bytes for layer in layers) <= 0.57 * dense
    assert parameter_bytes(packed) < parameter_bytes(plain) - 0.4 * dense
