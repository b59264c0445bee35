"""Packed models of every family: the same answers, the same weights again, and ordinary modules in every use."""

import copy
import threading

import pytest
import torch
from torch import nn

from models import load
from models.errors import RequestError
from models.memory import parameter_bytes
from pruning.anatomy.roles import find_anatomy
from pruning.packing.embedding import PackedEmbedding
from pruning.packing.folder import save_packed
from pruning.packing.format import Format
from pruning.packing.install import is_packed, pack, packed_layers, unpack
from tests.conftest import FAMILIES
from tests.pruning.forking import holds_in_a_fork, needs_fork

IDS = torch.tensor([[5, 9, 2, 77, 31, 8, 200, 14]])
TIED = ["llama", "gpt2", "opt", "bloom"]


def halved(model):
    """The model with the smaller half of every projection set to zero."""
    with torch.no_grad():
        for projection in find_anatomy(model).projections:
            weight = projection.weight
            weight[weight.abs() < weight.abs().median()] = 0
    return model


@torch.no_grad()
def logits(model, ids=IDS):
    return model(input_ids=ids, use_cache=False).logits


def state(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_the_same_packed_and_comes_back_bit_for_bit(tiny_model, family):
    model = halved(tiny_model(family))
    before, weights = logits(model), state(model)
    report = pack(model, Format.parse("auto"))
    stacked = {
        entry.parameter_name for entry in find_anatomy(tiny_model(family)).projections if entry.expert is not None
    }
    assert len(report.left) == len(stacked)
    assert report.matrices == len(packed_layers(model)) and report.packed_bytes < report.dense_bytes
    assert torch.allclose(logits(model), before, atol=2e-5)
    unpack(model)
    assert not is_packed(model) and same(state(model), weights)


@pytest.mark.parametrize("format", ["auto", "dense", "int8", "int8:64"])
@pytest.mark.parametrize("family", TIED)
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_comes_back_as_the_model_that_was_saved(tiny_model, tiny_tokenizer, tmp_path, format, family, tied):
    model = halved(tiny_model(family, tie_word_embeddings=tied))
    dense = parameter_bytes(model)
    pack(model, Format.parse(format))
    save_packed(model, tiny_tokenizer, tmp_path / "packed")
    found, _, description = load(str(tmp_path / "packed"))
    assert torch.equal(logits(found), logits(model))
    assert same(state(found), state(model))
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert description.bytes == parameter_bytes(model) and (format == "dense" or description.bytes < dense)
    assert description.dtype == "float32"
    head, table = found.get_output_embeddings(), found.get_input_embeddings()
    shared = head.values is (table.values if isinstance(table, PackedEmbedding) else table.weight)
    assert shared == tied and isinstance(table, PackedEmbedding) == (tied and "int8" in format)
    unpack(found)
    unpack(model)
    assert same(state(found), state(model))
    assert (found.get_output_embeddings().weight is found.get_input_embeddings().weight) == tied


def test_a_table_that_does_more_than_look_up_stays_as_it_is(tiny_model):
    model = halved(tiny_model("gemma3_text", tie_word_embeddings=True))
    table, before = model.get_input_embeddings(), logits(model)
    pack(model, Format.parse("int8"))
    assert model.get_input_embeddings() is table and model.get_output_embeddings().values is table.weight
    assert (logits(model) - before).norm() / before.norm() < 0.1


def test_negative_zeros_are_counted_kept_and_dropped_on_request(tiny_model):
    masked = tiny_model("llama")
    with torch.no_grad():
        for projection in find_anatomy(masked).projections:  # as a mask that is multiplied leaves them
            projection.weight.mul_((projection.weight.abs() > projection.weight.abs().median()).float())
    before, dropped = copy.deepcopy(masked), copy.deepcopy(masked)
    kept = pack(masked, Format.parse("auto"))
    fewer = pack(dropped, Format.parse("auto"), signed_zeros=False)
    assert kept.signed_zeros > 1000 and fewer.signed_zeros == 0 and fewer.packed_bytes < 0.9 * kept.packed_bytes
    assert torch.equal(logits(masked), logits(dropped))
    unpack(dropped)
    assert all(torch.equal(left, right) for left, right in zip(dropped.parameters(), before.parameters(), strict=True))


def test_generation_is_that_of_the_dense_model(tiny_model):
    model = halved(tiny_model("llama"))
    settings = dict(max_new_tokens=24, do_sample=False)
    before = model.generate(IDS, **settings)
    pack(model, Format.parse("auto"))
    assert torch.equal(model.generate(IDS, **settings), before)
    assert torch.equal(model.generate(IDS.repeat(3, 1), **settings), before.repeat(3, 1))


def test_a_packed_model_is_copied_moved_cast_and_loaded_as_any_module(tiny_model):
    model = halved(tiny_model("llama"))
    dense = copy.deepcopy(model)
    pack(model, Format.parse("auto"))
    before = logits(model)
    assert torch.equal(logits(copy.deepcopy(model)), before)
    assert torch.equal(logits(model.to("cpu")), before)
    half, expected = copy.deepcopy(model).to(torch.bfloat16), logits(copy.deepcopy(dense).to(torch.bfloat16))
    assert half.dtype == torch.bfloat16 and packed_layers(half)["lm_head"].dtype == torch.bfloat16
    assert (logits(half) - expected).norm() / expected.norm() < 0.02
    # Another pruning of the same model has other masks, and other numbers of values.
    other = tiny_model("llama", seed=5)
    pack(other, Format.parse("bitmask"))
    sparser = halved(halved(copy.deepcopy(dense)))
    pack(sparser, Format.parse("bitmask"))
    other.load_state_dict(sparser.state_dict())
    assert torch.equal(logits(other), logits(sparser))


def test_int8_scales_keep_their_precision_when_the_model_is_cast(tiny_model):
    model = halved(tiny_model("llama", tie_word_embeddings=True))
    pack(model, Format.parse("int8"))
    cast = copy.deepcopy(model).to(torch.bfloat16)
    scales = [module.scales for module in cast.modules() if hasattr(module, "scales")]
    assert scales and all(tensor.dtype == torch.float32 for tensor in scales)
    expected = logits(model)
    assert (logits(cast) - expected).norm() / expected.norm() < 0.02


def test_gradients_for_the_inputs_go_by_way_of_the_dense_weight(tiny_model):
    model = halved(tiny_model("llama"))
    vectors = model.get_input_embeddings()(IDS).detach().requires_grad_()
    model(inputs_embeds=vectors).logits.sum().backward()
    expected, vectors.grad = vectors.grad, None
    pack(model, Format.parse("auto"))
    model(inputs_embeds=vectors).logits.sum().backward()
    assert torch.allclose(vectors.grad, expected, atol=1e-4)


def test_threads_share_a_packed_model(tiny_model):
    model = halved(tiny_model("llama"))
    pack(model, Format.parse("auto"))
    inputs = [torch.randint(1, 300, (1, 6 + number)) for number in range(6)]
    expected, found = [logits(model, ids) for ids in inputs], [None] * len(inputs)

    def work(number: int) -> None:
        for _ in range(10):
            found[number] = logits(model, inputs[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert all(torch.equal(left, right) for left, right in zip(found, expected, strict=True))


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_computes_with_it(tiny_model):
    model = halved(tiny_model("llama"))
    pack(model, Format.parse("auto"))
    expected = logits(model)
    assert holds_in_a_fork(lambda: torch.equal(logits(model), expected))


def test_loading_never_holds_a_dense_weight(tiny_folder, tiny_model, tiny_tokenizer, tmp_path, monkeypatch):
    model = halved(tiny_model("llama", hidden_size=128, intermediate_size=512))
    dense = {tuple(parameter.shape) for name, parameter in model.named_parameters() if "proj" in name}
    pack(model, Format.parse("auto"))
    save_packed(model, tiny_tokenizer, tmp_path / "packed")
    seen = []
    created = nn.Parameter.__new__

    def watch(cls, data=None, requires_grad=True):
        if data is not None and data.device.type != "meta":
            seen.append(tuple(data.shape))
        return created(cls, data, requires_grad)

    monkeypatch.setattr(nn.Parameter, "__new__", watch)
    load(str(tmp_path / "packed"))
    assert seen and not dense & set(seen)


def test_a_packed_model_is_not_packed_again_and_not_pruned(tiny_model, tiny_tokenizer):
    model = halved(tiny_model("llama"))
    pack(model, Format.parse("auto"))
    with pytest.raises(RequestError, match="unpack"):
        pack(model, Format.parse("int8"))
    from pruning import PruningConfig, prune

    with pytest.raises(RequestError, match="unpack"):
        prune(model, tiny_tokenizer, PruningConfig(method="magnitude"))


def test_a_weight_that_does_not_fit_the_format_is_named(tiny_model):
    with pytest.raises(RequestError, match=r"model\.layers\.0\..*2:4"):
        pack(tiny_model("llama"), Format.parse("2:4"))
