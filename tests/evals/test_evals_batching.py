"""Writing in batches only where a model takes them: the texts are those that its whole forward pass says."""

import warnings

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from evals.asking.batching import takes_batches
from evals.asking.writing import Written, write
from evals.cost.kv_cache import measure_cache
from evals.cost.timing import time_generation
from models.forward.state import State
from models.text.prompts import prompt_ids

SMALL = dict(vocab_size=320, hidden_size=32, num_hidden_layers=2, bos_token_id=0, eos_token_id=0, pad_token_id=0)
FAMILIES = {
    "mamba": SMALL | dict(state_size=8),
    "mamba2": SMALL | dict(state_size=8, num_heads=8, head_dim=8, n_groups=1, chunk_size=16),
    "rwkv": dict(vocab_size=320, hidden_size=32, num_hidden_layers=2, context_length=128, bos_token_id=0, eos_token_id=0),
    "openai-gpt": dict(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "bart": dict(
        vocab_size=320, d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=64, encoder_layers=2,
        encoder_attention_heads=4, encoder_ffn_dim=64, max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
    ),
}  # fmt: skip
PROMPTS = ["The gardener", "A tree that is pruned well bears more fruit", "在花园里", "x " * 12]
TOKENS = 8


@pytest.fixture(scope="module")
def carrying():
    """A factory of random models of the families above whose tokens depend on all that they have read."""

    def make(family):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family])).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(3)
        return model

    return make


@torch.inference_mode()
def said(model, tokenizer, prompt):
    ids = prompt_ids(tokenizer, prompt)
    longer = list(ids)
    while len(longer) < len(ids) + TOKENS and (len(longer) == len(ids) or longer[-1] != 0):
        longer.append(int(model(input_ids=torch.tensor([longer]), use_cache=False).logits[0, -1].argmax()))
    return tokenizer.decode(longer[len(ids) :], skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_prompt_gets_what_the_model_says_to_it(carrying, tiny_tokenizer, family):
    model = carrying(family)
    found = dict(write(model, tiny_tokenizer, PROMPTS, TOKENS))
    assert [found[at].text for at in range(len(PROMPTS))] == [said(model, tiny_tokenizer, text) for text in PROMPTS]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_one_token_gets_what_the_model_says_to_it(carrying, tiny_tokenizer, family):
    model = carrying(family)
    for prompt in ("", "a"):
        assert dict(write(model, tiny_tokenizer, [prompt], TOKENS))[0].text == said(model, tiny_tokenizer, prompt)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "bloom", "mpt", "qwen3_moe"])
def test_ordinary_families_take_batches(tiny_model, family):
    assert takes_batches(tiny_model(family))
    assert takes_batches(tiny_model(family).bfloat16())


def test_a_family_that_does_not_look_at_the_mask_writes_one_by_one_and_it_is_said(carrying, tiny_tokenizer):
    model, told = carrying("rwkv"), []
    assert not takes_batches(model)
    list(write(model, tiny_tokenizer, PROMPTS, 2, progress=lambda share, message: told.append((share, message))))
    assert any("takes no batches" in message for _, message in told)
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_one_by_one_prompts_stop_end_and_are_cut_as_in_a_batch(tiny_model, tiny_tokenizer, monkeypatch):
    model = tiny_model("llama", initializer_range=0.3)
    prompts = [*PROMPTS, "".join(f"{number} trees, " for number in range(100))]
    together = dict(write(model, tiny_tokenizer, prompts, 16, ["e", "in"]))
    monkeypatch.setattr("evals.asking.writing.takes_batches", lambda model: False)
    alone = dict(write(model, tiny_tokenizer, prompts, 16, ["e", "in"]))
    assert alone == together and all(isinstance(one, Written) for one in alone.values())
    assert alone[len(prompts) - 1].dropped > 0


def test_the_trial_changes_no_setting_and_is_made_once(tiny_model, monkeypatch):
    model = tiny_model()
    own = model.generation_config
    assert takes_batches(model) and model.generation_config is own
    monkeypatch.setattr(model, "generate", None)
    assert takes_batches(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_timed_with_the_state_that_it_carries(carrying, family, monkeypatch):
    model = carrying(family)
    prompts = torch.randint(2, 300, (2, 9), generator=torch.Generator().manual_seed(1))
    read = []
    original = State.read

    def watched(state, ids):
        logits = original(state, ids)
        read.append((ids, logits))
        return logits

    monkeypatch.setattr(State, "read", watched)
    run = time_generation(model, prompts, new_tokens=4, count_cache=True)
    own = [(ids, logits) for ids, logits in read if len(ids) == 2][-4:]
    written = torch.cat([ids for ids, _ in own], dim=1)
    with torch.inference_mode():
        whole = model(input_ids=written, use_cache=False).logits
    for step, (_, logits) in enumerate(own):
        assert torch.allclose(logits, whole[:, 8 + step], rtol=1e-3, atol=1e-3 * float(whole.std()))
    assert run.new_tokens == 4 and (run.cache_bytes > 0) == (family != "openai-gpt")


def test_a_recurrent_state_does_not_grow_and_no_state_has_no_bytes(carrying):
    ids = list(range(2, 40))
    recurrent, none = (measure_cache(carrying(family), ids) for family in ("rwkv", "openai-gpt"))
    # 2 layers of 5 states of 32 floats
    assert (recurrent.bytes_per_token, recurrent.constant) == (0, 2 * 5 * 32 * 4)
    assert (none.bytes_per_token, none.constant) == (0, 0) and none.name.startswith("none")
