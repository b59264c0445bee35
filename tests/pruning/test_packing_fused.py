"""Blocks that write a token in two calls: the same numbers as the blocks they stand for, and never in the way."""

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import nn

from models.forward.cache_argument import cache_argument
from pruning.packing.fast_path import fast_path
from pruning.packing.format import Format
from pruning.packing.fused import FusedBlock, fuse, unfuse
from pruning.packing.install import pack, unpack
from pruning.packing.kernels import library
from tests.pruning.forking import holds_in_a_fork, needs_fork

FUSED = ["llama", "mistral", "qwen2", "qwen3"]
PROMPT = torch.tensor([[5, 9, 2, 77, 31, 8, 200, 14]])


@pytest.fixture(autouse=True)
def kernels():
    if library.kernels() is None:
        pytest.skip(f"kernels: {library.state()}")
    yield
    library.use("")


def blocks_of(model) -> list[FusedBlock]:
    return [module for module in model.modules() if isinstance(module, FusedBlock)]


def packed(tiny_model, family: str, format: str = "auto", dtype=torch.float32, **options):
    model = tiny_model(family, **options).to(dtype)
    pack(model, Format.parse(format))
    return model


@torch.no_grad()
def decoded(model, count: int = 4) -> torch.Tensor:
    """The logits of tokens that are fed one by one behind a prompt."""
    name = cache_argument(model)
    past = model(input_ids=PROMPT, use_cache=True)[name]
    found = []
    for token in range(count):
        found.append(model(input_ids=PROMPT[:, token : token + 1], **{name: past}, use_cache=True).logits)
    return torch.cat(found, dim=1)


def in_use(model) -> list[bool]:
    return [block.fused.whole is not None and not isinstance(block.fused.whole, str) for block in blocks_of(model)]


@pytest.mark.parametrize("most", ["avx512", "avx2", "plain"])
@pytest.mark.parametrize("format", ["auto", "bitmask", "int8", "dense:int8:64"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_instruction_set_computes_the_block(tiny_model, most, format, dtype):
    if library.use(most) != most:
        pytest.skip(f"this processor has no {most}")
    model = packed(tiny_model, "qwen2", format, dtype)
    found = decoded(model)
    assert in_use(model) and all(in_use(model))
    unfuse(model)
    expected = decoded(model)
    slack = {torch.float32: 2e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}[dtype]
    assert (found - expected).abs().max() <= slack * expected.abs().max()


@pytest.mark.parametrize("family", FUSED)
def test_a_family_with_llamas_parts_answers_as_its_own_blocks_do(tiny_model, family):
    dense = tiny_model(family)
    with torch.no_grad():  # as if trained: norms and biases that differ from their first values
        for name, parameter in dense.named_parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    model = copy.deepcopy(dense)
    pack(model, Format.parse("auto"))
    assert torch.allclose(decoded(model), decoded(dense), atol=2e-5, rtol=1e-4)
    assert all(in_use(model)) and len(in_use(model)) == model.config.num_hidden_layers


def test_a_block_that_does_something_of_its_own_stays_as_it_was(tiny_model):
    model = packed(tiny_model, "granite", residual_multiplier=0.7)
    dense = tiny_model("granite", residual_multiplier=0.7)
    assert torch.allclose(decoded(model), decoded(dense), atol=2e-5)
    assert not any(in_use(model))
    path = fast_path(model)
    assert path.fused == 0 and path.blocks == model.config.num_hidden_layers
    assert path.sentence.startswith(
        "fused blocks off: GraniteDecoderLayer c"
    )  # computes otherwise, or cannot be compared


@pytest.mark.parametrize("family", FUSED)
def test_the_fast_path_is_taken_without_a_warning(tiny_model, family, recwarn):
    model = packed(tiny_model, family)
    options = dict(max_new_tokens=4, do_sample=False, pad_token_id=0)
    model.generate(PROMPT, **options)
    path = fast_path(model)
    assert path.whole and path.fused == path.blocks > 0 and not path.sentence and not path.reasons
    assert not [warning for warning in recwarn if issubclass(warning.category, FutureWarning)]


def test_what_stands_in_the_way_of_the_fast_path_is_said(tiny_model):
    model = packed(tiny_model, "llama")
    handle = model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    path = fast_path(model)
    assert path.fused == path.blocks - 1
    assert path.sentence == f"fused blocks off in 1 of {path.blocks}: hooks are on its modules"
    handle.remove()
    model.train()
    assert fast_path(model).sentence == "fused blocks off: the model is in training mode"
    model.eval()
    model.set_attn_implementation("eager")
    assert fast_path(model).sentence == "fused blocks off: the attention is eager, not sdpa"
    assert "no packed q" in fast_path(tiny_model("llama")).sentence
    assert fast_path(packed(tiny_model, "gpt2")).sentence.startswith("fused blocks off: GPT2Block ")


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "phi3", "mixtral", "opt", "falcon"])
def test_other_blocks_are_not_touched(tiny_model, family):
    model = packed(tiny_model, family)
    assert not any(in_use(model)) and decoded(model).isfinite().all()


@pytest.mark.parametrize("family", ["mistral", "qwen2"])
def test_beyond_a_sliding_window_it_answers_as_before(tiny_model, family):
    options = dict(sliding_window=5, use_sliding_window=True, max_window_layers=0)
    model, dense = packed(tiny_model, family, **options), tiny_model(family, **options)
    ids = PROMPT[:, :3]
    wanted = dict(max_new_tokens=12, do_sample=False, pad_token_id=0, output_logits=True, return_dict_in_generate=True)
    found, expected = (torch.stack(each.generate(ids, **wanted).logits) for each in (model, dense))
    assert torch.allclose(found, expected, atol=2e-5) and all(in_use(model))


def test_threads_that_write_at_once_do_not_disturb_each_other(tiny_model):
    model = packed(tiny_model, "llama")
    expected, found = decoded(model, 8), [None] * 4

    def write(at: int) -> None:
        found[at] = decoded(model, 8)

    threads = [threading.Thread(target=write, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(each, expected) for each in found)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_writes_with_it(tiny_model):
    model = packed(tiny_model, "llama")
    expected = decoded(model)
    assert holds_in_a_fork(lambda: torch.equal(decoded(model), expected))


def test_one_thread_and_two_give_the_same_bits(tiny_model):
    model = packed(tiny_model, "llama", hidden_size=256, intermediate_size=512, num_attention_heads=8, head_dim=32)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(decoded(model))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_hook_inside_a_block_is_called_for_every_token(tiny_model):
    model = packed(tiny_model, "llama")
    expected, calls = decoded(model, 3), []
    handle = model.model.layers[0].mlp.down_proj.register_forward_hook(lambda *_: calls.append(1))
    found = decoded(model, 3)
    handle.remove()
    assert len(calls) == 4 and torch.allclose(found, expected, atol=1e-4)


def test_a_module_put_into_a_block_is_what_computes(tiny_model):
    model = packed(tiny_model, "llama")
    expected = decoded(model)

    class Nothing(nn.Module):
        def forward(self, x):
            return torch.zeros(*x.shape[:-1], model.config.hidden_size)

    own = model.model.layers[0].mlp.down_proj
    model.model.layers[0].mlp.down_proj = Nothing()
    changed = decoded(model)
    model.model.layers[0].mlp.down_proj = own
    assert not torch.allclose(changed, expected, atol=1e-4)
    unfuse(model)
    model.model.layers[0].mlp.down_proj = Nothing()
    assert torch.allclose(decoded(model), changed, atol=1e-5)


def test_weights_that_change_are_what_computes(tiny_model):
    model = packed(tiny_model, "llama", "dense")
    other = packed(tiny_model, "llama", "dense", initializer_range=0.5)
    decoded(model)
    model.load_state_dict(other.state_dict())
    assert torch.allclose(decoded(model), decoded(other), atol=1e-5)
    model.model.layers[0].input_layernorm.weight = nn.Parameter(torch.full((model.config.hidden_size,), 3.0))
    found = decoded(model)
    unfuse(model)
    assert torch.allclose(found, decoded(model), atol=1e-3)  # of logits up to 10: sums differ by instruction set


def test_a_batch_with_padding_and_a_mask_are_left_to_the_blocks(tiny_model):
    model, dense = packed(tiny_model, "llama"), tiny_model("llama")
    ids = torch.cat([PROMPT, PROMPT.flip(1)])
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    options = dict(attention_mask=mask, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert torch.equal(model.generate(ids, **options), dense.generate(ids, **options))
    options["attention_mask"] = mask[:1]
    assert torch.equal(model.generate(ids[:1], **options), dense.generate(ids[:1], **options))


def test_attentions_and_hidden_states_are_given_as_before(tiny_model):
    model, dense = (
        make("llama", attn_implementation="eager") for make in (lambda *a, **o: packed(tiny_model, *a, **o), tiny_model)
    )
    for each in (model, dense):
        each.set_attn_implementation("eager")
    with torch.no_grad():
        found, expected = (
            each(PROMPT[:, :1], output_attentions=True, output_hidden_states=True) for each in (model, dense)
        )
    assert len(found.attentions) == len(expected.attentions) and len(found.hidden_states) == len(expected.hidden_states)
    assert all(
        torch.allclose(*pair, atol=1e-5) for pair in zip(found.hidden_states, expected.hidden_states, strict=True)
    )


def test_hidden_states_of_fused_blocks(tiny_model):
    model, dense = packed(tiny_model, "llama"), tiny_model("llama")
    with torch.no_grad():
        found, expected = (each(PROMPT[:, :1], output_hidden_states=True).hidden_states for each in (model, dense))
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(found, expected, strict=True))


def test_copies_pickles_and_casts_go_on_by_themselves(tiny_model):
    model = packed(tiny_model, "llama")
    expected = decoded(model)
    copied, file = copy.deepcopy(model), io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copied, pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
        assert torch.equal(decoded(other), expected) and all(in_use(other))
        assert blocks_of(other)[0].fused.matrices[0] is other.model.layers[0].self_attn.q_proj
    copied.to(torch.bfloat16)
    assert decoded(copied).dtype == torch.bfloat16 and all(in_use(copied))
    assert torch.equal(decoded(model), expected)


def test_unpacking_gives_the_blocks_their_own_class(tiny_model):
    model, plain = packed(tiny_model, "llama"), tiny_model("llama")
    names = list(model.state_dict())
    assert fuse(model) == 0 and list(model.state_dict()) == names  # once is enough
    unpack(model)
    assert type(model.model.layers[0]) is type(plain.model.layers[0])
    assert torch.equal(decoded(model), decoded(plain))


def test_training_and_gradients_are_left_to_the_blocks(tiny_model):
    model = packed(tiny_model, "llama")
    x = torch.randn(1, 1, model.config.hidden_size, requires_grad=True)
    model(inputs_embeds=x).logits.sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
