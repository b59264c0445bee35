"""Prompts as ids: special tokens before a text that is to go on, none behind it, in all that continues one."""

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from models.decoding import Generation
from models.errors import RequestError
from models.sampling import Sampling
from models.text.prompts import beginning, leading_tokens, prompt_ids

END = "<|endoftext|>"
TEMPLATES = {
    "before": f"{END} $A",
    "both": f"{END} $A {END}",
    "behind": f"$A {END}",
    "two behind": f"{END} $A <|pad|> {END}",
    "none": "$A",
}


@pytest.fixture(scope="module")
def templated(tiny_tokenizer):
    """A factory of the tiny tokenizer with a template of its own."""

    def make(template, **tokens):
        inner = Tokenizer.from_str(tiny_tokenizer.backend_tokenizer.to_str())
        special = [(token, inner.token_to_id(token)) for token in (END, "<|pad|>")]
        inner.post_processor = TemplateProcessing(single=template, special_tokens=special)
        return PreTrainedTokenizerFast(tokenizer_object=inner, **({"bos_token": END, "eos_token": END} | tokens))

    return make


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_special_stands_behind_a_prompt(templated, tiny_tokenizer, name):
    tokenizer = templated(TEMPLATES[name])
    plain = tiny_tokenizer("The gardener", add_special_tokens=False)["input_ids"]
    leading = [0] if TEMPLATES[name].startswith(END) else []
    assert leading_tokens(tokenizer) == leading
    assert prompt_ids(tokenizer, "The gardener") == [*leading, *plain]


def test_an_end_of_text_that_the_prompt_spells_out_stays(templated):
    tokenizer = templated(TEMPLATES["both"])
    assert prompt_ids(tokenizer, f"a{END}") == [*prompt_ids(tokenizer, "a"), 0]
    assert prompt_ids(tokenizer, END) == [0, 0]


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_empty_prompt_is_what_a_text_begins_with(templated, name):
    assert prompt_ids(templated(TEMPLATES[name]), "") == [0]


def test_an_empty_prompt_needs_a_token_to_begin_with(templated):
    tokenizer = templated(TEMPLATES["none"], bos_token=None, eos_token=None)
    with pytest.raises(RequestError, match="write something"):
        beginning(tokenizer)


def test_generation_goes_on_from_the_text_itself(templated, tiny_model):
    model = tiny_model(initializer_range=0.3)
    good, bad = (
        Generation(model, templated(TEMPLATES[name]), "The gardener", Sampling(12, ignore_end=True)).run()
        for name in ("before", "both")
    )
    assert bad.prompt_ids == good.prompt_ids and bad.ids == good.ids


def test_what_evals_writes_scores_and_times_goes_on_from_the_text_itself(templated, tiny_model):
    from evals.asking.likelihood import score_choices
    from evals.asking.writing import write
    from evals.cost.speed import race

    model = tiny_model(initializer_range=0.3)
    good, bad = (templated(TEMPLATES[name]) for name in ("before", "both"))
    texts = [dict(write(model, tokenizer, ["The gardener", ""], 12)) for tokenizer in (good, bad)]
    assert texts[0] == texts[1]
    scores = [score_choices(model, tokenizer, "The gardener", [" ties", " cuts"]) for tokenizer in (good, bad)]
    assert scores[0] == scores[1]
    raced = race([("one", model, good), ("other", model, bad)], "The gardener", new_tokens=2, repeats=1)
    assert len({lane.ttft.protocol["prompt_tokens"] for lane in raced.lanes}) == 1
