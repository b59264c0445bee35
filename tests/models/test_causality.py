"""Whether a model is causal is told from its logits: encoders that are called causal, decoders of every family."""

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from models.description import context_length
from models.errors import EspalierError, RequestError
from models.forward.causality import is_causal, leaks, refuse_leaks, trial_texts
from tests.conftest import FAMILIES

SMALL = dict(vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
ENCODERS = {
    "bert": SMALL,
    "roberta": SMALL | dict(max_position_embeddings=66, pad_token_id=1),
    "electra": SMALL | dict(embedding_size=32),
    "xlm": dict(vocab_size=320, emb_dim=32, n_layers=2, n_heads=4),
    "xlnet": dict(vocab_size=320, d_model=32, n_layer=2, n_head=4, d_inner=48),
    "camembert": SMALL,
    "ernie": SMALL,
    "megatron-bert": SMALL,
    "rembert": SMALL | dict(input_embedding_size=16, output_embedding_size=16),
    "roformer": SMALL,
}
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def made(family, dtype=torch.float32, **options):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **options)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_is_told_from_a_decoder_whatever_its_class_is_called(family, dtype):
    model = made(family, dtype, **ENCODERS[family])
    assert type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))
    assert not is_causal(model)
    with pytest.raises(RequestError, match="mine is no causal model: .* use a decoder model"):
        refuse_leaks(model, "mine")


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "camembert"])
def test_the_same_encoder_configured_as_a_decoder_is_causal(family):
    assert is_causal(made(family, **ENCODERS[family], is_decoder=True))
    assert is_causal(made("xlm", **ENCODERS["xlm"], causal=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_decoder_is_causal_also_where_experts_round_by_what_is_beside(tiny_model, family, dtype):
    model = tiny_model(family).to(dtype)
    for weight in model.parameters():  # far from a random model's near silence
        weight.data.mul_(5.0)
    assert is_causal(model)
    refuse_leaks(model)


def test_rounding_is_no_leak_and_a_change_beyond_it_is_one():
    generator = torch.Generator().manual_seed(0)
    same = torch.randn(1, 4, 50, generator=generator).repeat(4, 1, 1)
    rounded = same + 1e-3 * torch.randn(4, 4, 50, generator=generator)
    again = same + 1e-3 * torch.randn(4, 4, 50, generator=generator)
    assert not leaks(same) and leaks(rounded) and not leaks(rounded, again)
    changed = rounded.clone()
    changed[2, 1, 7] += 0.5
    assert leaks(changed, again)
    only_last = same.clone()
    only_last[1:, -1] += 9
    assert not leaks(only_last)


@pytest.mark.parametrize("context", [1, 2, 3])
def test_a_tiny_context_is_enough_or_nothing_can_leak(tiny_model, context):
    model = tiny_model("llama", max_position_embeddings=context)
    texts = trial_texts(model.config)
    assert (texts is None) if context == 1 else (texts.shape == (4, context))
    assert is_causal(model)
    if context > 1:
        assert not is_causal(made("bert", **SMALL | dict(max_position_embeddings=context)))


def test_the_texts_of_the_trial_differ_in_the_last_token_alone_and_hold_no_special_one():
    config = transformers.LlamaConfig(vocab_size=40, pad_token_id=0, bos_token_id=5, eos_token_id=[11, 17])
    texts = trial_texts(config)
    assert len(set(texts[:, -1].tolist())) == 4 and (texts[:, :-1] == texts[:1, :-1]).all()
    assert not {0, 5, 11, 17} & set(texts.flatten().tolist()) and int(texts.max()) < 40
    assert int(trial_texts(transformers.LlamaConfig(vocab_size=3, bos_token_id=1, eos_token_id=2)).max()) < 3


def test_a_model_is_tried_once(tiny_model, monkeypatch):
    model, calls = tiny_model(), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **given: calls.append(1) or forward(**given))
    assert is_causal(model) and is_causal(model)
    assert len(calls) == 1


def test_a_model_that_cannot_be_run_at_all_is_told_in_one_line(tiny_model, monkeypatch):
    model = tiny_model()

    def refusing(**given):
        raise ValueError("Input language unknown.\nPlease call something.")

    monkeypatch.setattr(model, "forward", refusing)
    with pytest.raises(EspalierError, match=r"cannot be run on a few tokens in float32 \(Input language unknown\.\)"):
        is_causal(model)


@pytest.mark.parametrize(
    ("family", "options", "context"),
    [
        ("xlnet", {}, 2048),  # says -1
        ("bloom", {}, 2048),
        ("xlm", {"max_position_embeddings": 64}, 64),
        ("roberta", {"max_position_embeddings": 66, "pad_token_id": 1}, 64),
        ("camembert", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("llama", {"max_position_embeddings": 128, "pad_token_id": 1}, 128),
    ],
)
def test_the_context_is_what_can_be_read(family, options, context):
    assert context_length(AutoConfig.for_model(family, **options)) == context


def test_a_decoder_that_counts_places_after_padding_reads_its_whole_context():
    model = made("roberta", **ENCODERS["roberta"], is_decoder=True)
    longest = context_length(model.config)
    with torch.inference_mode():
        assert model(input_ids=torch.full((1, longest), 7)).logits.shape[1] == longest
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, longest + 1), 7))
