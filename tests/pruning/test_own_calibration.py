"""Calibration text that the model writes itself: its plain distribution, whatever settings its checkpoint brings."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import GenerationConfig, PreTrainedTokenizerFast

from models.errors import EspalierError
from pruning.calibration import Request
from pruning.calibration.own import Own

SETTINGS = {
    "a repetition penalty": dict(repetition_penalty=9.0),
    "beams": dict(num_beams=3),
    "suppressed tokens": dict(suppress_tokens=list(range(2, 300))),
    "suppressed at the start": dict(begin_suppress_tokens=list(range(2, 300))),
    "stop strings": dict(stop_strings=["e", "a"]),
    "forbidden words": dict(bad_words_ids=[[token] for token in range(2, 200)]),
    "no repeated token": dict(no_repeat_ngram_size=1),
    "forced tokens": dict(forced_bos_token_id=7, forced_eos_token_id=9),
    "a least length": dict(min_new_tokens=20),
    "a greatest length": dict(max_length=3, max_new_tokens=2),
    "filters": dict(temperature=0.01, top_k=1, top_p=0.1, min_p=0.9, typical_p=0.1),
    "several texts": dict(num_return_sequences=3, do_sample=True),
}


def written(model, tokenizer, samples=4, length=24, seed=0):
    return list(Own().documents(Request("self", model, tokenizer, samples, length, seed)))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_checkpoint_s_generation_settings_have_no_say(tiny_model, tiny_tokenizer, name):
    model = tiny_model()
    plain = written(model, tiny_tokenizer)
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=0, **SETTINGS[name])
    assert written(model, tiny_tokenizer) == plain
    assert sum(map(len, plain)) >= 4 * 24


def test_every_token_is_drawn_as_often_as_the_model_says(tiny_model, tiny_tokenizer):
    model = tiny_model(initializer_range=0.5)
    model.generation_config.update(repetition_penalty=5.0, suppress_tokens=[5, 6, 7], top_k=3)
    firsts = torch.tensor([text[1] for seed in range(40) for text in written(model, tiny_tokenizer, 16, 2, seed)])
    with torch.no_grad():
        odds = model(torch.tensor([[0]])).logits[0, 0].softmax(-1)
    odds[0] = 0  # an end at once is no text
    odds /= odds.sum()
    counts = torch.bincount(firsts, minlength=len(odds)) / len(firsts)
    allowed = 5 * (odds * (1 - odds) / len(firsts)).sqrt() + 5 / len(firsts)
    assert len(firsts) > 400 and bool(((counts - odds).abs() <= allowed).all())


def test_a_text_ends_at_its_end_and_begins_with_what_the_tokenizer_puts_first(tiny_model, tiny_tokenizer):
    inner = Tokenizer.from_str(tiny_tokenizer.backend_tokenizer.to_str())
    end, pad = "<|endoftext|>", "<|pad|>"
    special = [(token, inner.token_to_id(token)) for token in (end, pad)]
    inner.post_processor = TemplateProcessing(single=f"{pad} {end} $A {end}", special_tokens=special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=end, eos_token=end)
    model = tiny_model()
    model.generation_config.eos_token_id = list(range(200, 260))
    texts = written(model, tokenizer)
    assert all(text[:2] == [1, 0] and len(text) > 2 for text in texts)
    assert not any(token in {0, *range(200, 260)} for text in texts for token in text[2:])
    assert min(map(len, texts)) < 24


def test_output_that_is_not_finite_is_one_clear_line(tiny_model, tiny_tokenizer):
    model = tiny_model()
    model.model.norm.weight.data[:] = float("nan")
    with pytest.raises(EspalierError, match="not finite"):
        written(model, tiny_tokenizer)
