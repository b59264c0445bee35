"""How a model carries what it has read: the tokens written are those that its whole forward pass says."""

import warnings

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from models.decoding import PREFILL_CHUNK, Generation
from models.forward.state import REREADS, Carriage, carriage_of, open_state
from models.sampling import Sampling

SMALL = dict(
    vocab_size=320, hidden_size=32, num_hidden_layers=3, bos_token_id=0, eos_token_id=0, pad_token_id=0,
)  # fmt: skip
ATTENDS = SMALL | dict(
    intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128
)  # fmt: skip
MAMBA2 = dict(
    mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1, mamba_chunk_size=16
)  # fmt: skip
FAMILIES = {
    "mamba": SMALL | dict(state_size=8),
    "mamba2": SMALL | dict(state_size=8, num_heads=8, head_dim=8, n_groups=1, chunk_size=16),
    "falcon_mamba": SMALL | dict(state_size=8),
    "rwkv": dict(vocab_size=320, hidden_size=32, num_hidden_layers=2, context_length=128, bos_token_id=0, eos_token_id=0),
    "jamba": ATTENDS | dict(
        num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        num_experts=2, num_experts_per_tok=1, mamba_d_state=8, mamba_dt_rank=4, use_mamba_kernels=False,
    ),
    "zamba": ATTENDS | dict(
        num_key_value_heads=4, num_hidden_layers=6, attn_layer_period=3, attn_layer_offset=2, mamba_d_state=8,
        n_mamba_heads=2, use_mamba_kernels=False,
    ),
    "recurrent_gemma": ATTENDS | dict(num_key_value_heads=1, lru_width=32, attention_window_size=64, intermediate_size=96),
    "bamba": ATTENDS | MAMBA2 | dict(attn_layer_indices=[1]),
    "granitemoehybrid": ATTENDS | MAMBA2 | dict(
        layer_types=["mamba", "attention", "mamba"], shared_intermediate_size=32, num_local_experts=2, num_experts_per_tok=1
    ),
    "falcon_h1": ATTENDS | MAMBA2 | dict(mamba_d_ssm=64),
    "lfm2": ATTENDS | dict(layer_types=["conv", "full_attention", "conv"]),
    "openai-gpt": dict(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "bart": dict(
        vocab_size=320, d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=64, encoder_layers=1,
        encoder_attention_heads=4, encoder_ffn_dim=64, max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
    ),
}  # fmt: skip
PROMPTS = [[5, 80, 7], list(range(20, 40)), [9]]


@pytest.fixture(scope="module")
def carrying():
    """A factory of random models of the families above whose tokens depend on all that they have read."""
    made = {}

    def make(family, dtype=torch.float32):
        if (family, dtype) not in made:
            torch.manual_seed(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family])).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim == 2:
                        parameter.mul_(3)
            made[family, dtype] = model.to(dtype)
        return made[family, dtype]

    return make


@torch.inference_mode()
def said(model, prompt, tokens):
    """What the model says greedily, all read anew for every token."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("family", FAMILIES)
def test_step_by_step_is_what_the_model_says(carrying, tiny_tokenizer, family, prompt):
    model = carrying(family)
    written = Generation(model, tiny_tokenizer, prompt, Sampling(10, ignore_end=True)).run()
    assert written.ids == said(model, prompt, 10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_read_together_has_the_logits_of_reading_all_at_once(carrying, family):
    model = carrying(family)
    ids = torch.randint(1, 300, (3, 9), generator=torch.Generator().manual_seed(1))
    state = open_state(model, batch=3)
    with torch.inference_mode():
        found = [state.read(piece) for piece in ids.split([6, 1, 1, 1], dim=1)]
        whole = model(input_ids=ids, use_cache=False).logits
    for logits, place in zip(found, (5, 6, 7, 8), strict=True):
        assert torch.allclose(logits, whole[:, place], rtol=1e-3, atol=1e-3 * float(whole.std()))


@pytest.mark.parametrize("family", ["mamba", "rwkv", "jamba", "bamba"])
def test_a_prompt_longer_than_a_piece_is_read_whole_where_a_state_would_break_at_the_seam(
    carrying, tiny_tokenizer, family
):
    model = carrying(family)
    state = open_state(model)
    assert not state.reads_pieces()
    prompt = torch.randint(1, 300, (PREFILL_CHUNK + 8,), generator=torch.Generator().manual_seed(2)).tolist()
    if len(prompt) < getattr(model.config, "max_position_embeddings", 2048):
        written = Generation(model, tiny_tokenizer, prompt, Sampling(3, ignore_end=True)).run()
        assert written.ids == said(model, prompt, 3)


def test_keys_and_values_are_read_in_pieces(tiny_model):
    state = open_state(tiny_model())
    assert (state.name, state.reads_pieces(), state.rereads) == ("DynamicCache", True, False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "mixtral", "gpt_oss"])
def test_rounding_is_not_taken_for_forgetting(tiny_model, family, dtype):
    model = tiny_model(family, initializer_range=0.2).to(dtype)
    assert carriage_of(model).name == "DynamicCache" and open_state(model).reads_pieces()


def test_a_cache_that_is_dropped_in_silence_is_not_relied_on(tiny_model, tiny_tokenizer):
    model = tiny_model(initializer_range=0.3)

    class Dropping(type(model)):
        def forward(self, input_ids, past_key_values=None, use_cache=None, **options):
            return super().forward(input_ids=input_ids, use_cache=False, **options)

    model.__class__ = Dropping
    state = open_state(model)
    assert state.rereads and state.name == REREADS and state.cache is None
    written = Generation(model, tiny_tokenizer, PROMPTS[1], Sampling(8, ignore_end=True)).run()
    assert written.rereads and written.ids == said(model, PROMPTS[1], 8)


def test_the_trial_is_made_once_for_a_model(tiny_model, monkeypatch):
    model, calls = tiny_model(), []
    carriage_of(model)
    monkeypatch.setattr(model, "forward", lambda **options: calls.append(options))
    assert carriage_of(model) == carriage_of(model) and not calls


def test_no_warning_is_printed(tiny_model, tiny_tokenizer, recwarn):
    Generation(tiny_model(), tiny_tokenizer, PROMPTS[1], Sampling(4, ignore_end=True)).run()
    assert not [warning for warning in recwarn if issubclass(warning.category, FutureWarning)]


def test_a_carriage_begins_with_an_empty_cache_of_its_own(tiny_model):
    carriage = carriage_of(tiny_model())
    assert isinstance(carriage, Carriage)
    first, second = (carriage.begin(tiny_model(), 1) for _ in range(2))
    assert isinstance(first, DynamicCache) and first is not second and first.get_seq_length() == 0
