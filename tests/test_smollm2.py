"""SmolLM2 itself, where it has been fetched (python -m models fetch smollm2): what only a real model can show."""

import copy
import os
from math import exp

import pytest
import torch

from evals.text_losses.perplexity import score
from evals.texts import prose
from models import load
from models.catalogue import find
from models.catalogue.fetching import cached
from models.decoding import Generation
from models.sampling import Sampling
from models.text.chat import find_template
from pruning import PruningConfig, prune
from pruning.packing.layout import in_layout

pytestmark = pytest.mark.smollm2

WINDOW, WINDOWS = 512, 2
DENSE = (28.0, 46.0)  # perplexity of the text below: 40 from 4 bits, less from the Hub's own weights


@pytest.fixture(scope="module")
def smollm2():
    """The model as `MODEL smollm2` loads it, from the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        if own := os.environ.get("ESPALIER_TEST_CACHE"):
            patch.setenv("ESPALIER_CACHE", own)
        else:
            patch.delenv("ESPALIER_CACHE")
        if cached(find("smollm2")) is None:
            pytest.skip("smollm2 has not been fetched: python -m models fetch smollm2")
        yield load("smollm2", device="cpu", dtype="bfloat16")


def perplexity(loaded) -> float:
    return exp(score(loaded, prose(), length=WINDOW, most=WINDOWS).losses.mean())


def written(model, tokenizer, prompt, tokens: int) -> str:
    return Generation(model, tokenizer, prompt, Sampling(max_new_tokens=tokens)).run().text


def pruned(smollm2, method: str):
    twin = smollm2._replace(model=copy.deepcopy(smollm2.model))
    prune(twin.model, twin.tokenizer, PruningConfig(method, 0.5, samples=4, sequence_length=WINDOW), undoable=False)
    return twin


@pytest.fixture(scope="module")
def halved(smollm2):
    """The model without half of its weights, by Wanda."""
    return pruned(smollm2, "wanda")


def test_it_is_an_ordinary_llama_with_a_chat_template(smollm2):
    config, weights = smollm2.model.config, list(smollm2.model.parameters())
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == ("llama", 30, 576)
    assert config.tie_word_embeddings and {weight.dtype for weight in weights} == {torch.bfloat16}
    assert sum(weight.numel() for weight in weights) == 134_515_008
    assert find_template(smollm2.tokenizer) is not None


def test_its_perplexity_is_that_of_a_trained_model(smollm2):
    low, high = DENSE
    assert low < perplexity(smollm2) < high


def test_wanda_leaves_a_language_model_and_magnitude_does_not(smollm2, halved):
    by_wanda, by_magnitude = perplexity(halved), perplexity(pruned(smollm2, "magnitude"))
    assert perplexity(smollm2) < by_wanda < 5 * DENSE[1]
    assert by_magnitude > 3 * by_wanda


def test_packed_it_writes_what_it_wrote(halved):
    prompt, model = "Water boils at a temperature of", halved.model
    plain = written(model, halved.tokenizer, prompt, 12)
    assert plain.strip()
    for layout, tokens in (("auto", 12), ("int8", 4)):  # int8 rounds: only the beginning is certain
        text = written(in_layout(model, layout), halved.tokenizer, prompt, tokens)
        assert plain.startswith(text) and text


def test_it_answers_a_question(smollm2):
    template = find_template(smollm2.tokenizer)
    ids = template.ids([{"role": "user", "content": "What is the capital of France?"}])
    assert "Paris" in written(smollm2.model, smollm2.tokenizer, ids, 24)
