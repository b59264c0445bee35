"""The last word: cut from its passage, scored against a plain sum and against greedy decoding."""

from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evals.asking.request_client import RequestClient
from evals.judging.last_word import cut
from evals.metrics.last_word import LARGEST_LOG, answer, figures, judge, perplexity
from evals.statistics.figures import estimate
from evals.task import Task
from models import Loaded
from models.console.progress import silent
from models.errors import RequestError

PASSAGES = [
    "The gardener ties the branches to the wall",
    'A tree bears more fruit.\n\n"It does," she said to the cat',
    "in the garden of 花园 asleep",
    "a wall a wall a wall a wall",
]
TASK = Task("own", "", "last_word", {}, "{text}")


def measured(model, tokenizer, passages) -> dict:
    """The figures by name."""
    loaded = Loaded(model, tokenizer, None)
    client = RequestClient("model", tokenizer, loaded.model.config, "", lambda: loaded)
    rows = [{"text": passage} for passage in passages]
    judged = [judge(TASK, row, given) for row, given in zip(rows, answer(client, TASK, rows, silent), strict=True)]
    return {figure.name: estimate(figure, np.array([each[figure.name] for each in judged])) for figure in figures(TASK)}


def plain(model, tokenizer, passage: str) -> tuple[float, bool]:
    context, word = passage[: passage.rindex(" ")], passage[passage.rindex(" ") :]
    ids = tokenizer(context)["input_ids"]
    tail = tokenizer(word, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids + tail])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
    return float(logits.gather(1, torch.tensor(tail)[:, None]).sum()), logits.argmax(-1).tolist() == tail


def test_perplexity_is_of_words_and_equals_a_plain_sum(tiny_model, tiny_tokenizer):
    model = tiny_model()
    found = measured(model, tiny_tokenizer, PASSAGES)
    sums, hits = zip(*(plain(model, tiny_tokenizer, passage) for passage in PASSAGES), strict=True)
    assert log(found["perplexity"].value) == pytest.approx(-sum(sums) / len(sums), abs=1e-4)
    low, high = found["perplexity"].interval
    assert low < found["perplexity"].value < high
    assert found["accuracy"].value == sum(hits) / len(hits)


def test_a_word_that_the_model_writes_is_right(tiny_model, tiny_tokenizer):
    """The likeliest token after the context lends its odds, and more, to the one word."""
    model, context = tiny_model(), "The gardener ties the branches to"
    (word,) = tiny_tokenizer(" a", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        likeliest = int(model(torch.tensor([tiny_tokenizer(context)["input_ids"]])).logits[0, -1].argmax())
        model.lm_head.weight[word] = 9 * model.lm_head.weight[likeliest]
    found = measured(model, tiny_tokenizer, [f"{context} a", f"{context} wall"])
    assert found["accuracy"].value == 0.5 and found["perplexity"].value > 1


@given(st.text(alphabet="ab ,\n", min_size=1).filter(str.strip), st.text(alphabet="ab.\n'", min_size=1))
def test_cutting_loses_nothing(context, word):
    assert cut(f"{context} {word}") == (context, f" {word}")


@pytest.mark.parametrize("passage", ["word", "", "word ", " word"])
def test_a_passage_without_a_last_word_is_refused(passage):
    with pytest.raises(RequestError, match="no last word"):
        cut(passage)


def test_a_surprise_beyond_any_float_stays_finite():
    assert perplexity(np.array([5000.0, 1.0])) == exp(LARGEST_LOG)
