"""The last word: cut from its passage, scored against a plain sum and against greedy decoding."""

import json
from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evals.last_word import cut, last_word, read_lambada
from models import Loaded
from models.errors import RequestError

PASSAGES = [
    "The gardener ties the branches to the wall",
    'A tree bears more fruit.\n\n"It does," she said to the cat',
    "in the garden of 花园 asleep",
    "a wall a wall a wall a wall",
]


@pytest.fixture(scope="module")
def loaded(tiny_model, tiny_tokenizer):
    return Loaded(tiny_model(), tiny_tokenizer, None)


def plain(loaded, passage: str) -> tuple[float, bool]:
    context, word = passage[: passage.rindex(" ")], passage[passage.rindex(" ") :]
    ids = loaded.tokenizer(context)["input_ids"]
    tail = loaded.tokenizer(word, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([ids + tail])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
    return float(logits.gather(1, torch.tensor(tail)[:, None]).sum()), logits.argmax(-1).tolist() == tail


def test_perplexity_is_of_words_and_equals_a_plain_sum(loaded):
    accuracy, perplexity = last_word(loaded, PASSAGES)
    sums = [plain(loaded, passage)[0] for passage in PASSAGES]
    assert log(perplexity.value) == pytest.approx(-sum(sums) / len(sums), abs=1e-4)
    assert perplexity.interval[0] < perplexity.value < perplexity.interval[1]
    assert accuracy.value == sum(plain(loaded, passage)[1] for passage in PASSAGES) / len(PASSAGES)
    assert accuracy.n == perplexity.n == 4 and accuracy.protocol == {"name": "lambada_openai", "contexts_cut": 0}


def test_a_word_that_the_model_writes_is_right(loaded):
    """The head is made to answer one word whatever it reads."""
    tokens = loaded.tokenizer(" garden", add_special_tokens=False)["input_ids"]
    model, logits = loaded.model, torch.zeros(320)

    class Parrot(torch.nn.Module):
        config = model.config

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, attention_mask, use_cache):
            answer = logits.repeat(*input_ids.shape, 1)
            for first, second in zip([None, *tokens], tokens):
                answer[..., second] += 5.0 if first is None else 10.0 * (input_ids == first)
            return type("Output", (), {"logits": answer})

    parrot = Loaded(Parrot(), loaded.tokenizer, None)
    accuracy, perplexity = last_word(parrot, ["in the garden", "in the wall"])
    assert accuracy.value == 0.5 and perplexity.value > 1


def test_a_context_that_is_too_long_is_cut_and_told(loaded):
    long = "word " * 300 + "end"
    accuracy, _ = last_word(loaded, [long, "a wall"])
    assert accuracy.protocol["contexts_cut"] == 1


@given(st.text(alphabet="ab ,\n", min_size=1).filter(str.strip), st.text(alphabet="ab.\n'", min_size=1))
def test_cutting_loses_nothing(context, word):
    assert cut(f"{context} {word}") == (context, f" {word}")


@pytest.mark.parametrize("passage", ["word", "", "word ", " word"])
def test_a_passage_without_a_last_word_is_refused(passage):
    with pytest.raises(RequestError, match="no last word"):
        cut(passage)


def test_a_surprise_beyond_any_float_stays_finite(loaded, monkeypatch):
    from evals import last_word as module
    from evals.likelihood import ChoiceScore

    monkeypatch.setattr(module, "score_prompts", lambda *_: [[ChoiceScore(" a", -5000.0, 1)]])
    _, perplexity = last_word(loaded, ["some a"])
    assert perplexity.value == exp(700)


def test_the_file_is_read_and_none_is_refused(tmp_path, loaded):
    path = tmp_path / "passages.jsonl"
    path.write_text("".join(json.dumps({"text": passage}) + "\n" for passage in PASSAGES), encoding="utf-8")
    assert read_lambada(path) == PASSAGES
    with pytest.raises(RequestError, match="no passage"):
        last_word(loaded, [])
