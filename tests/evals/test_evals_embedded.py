"""The embedded model on the embedded text: it knows English, and Wanda costs it less than magnitude."""

import copy

import pytest

from evals.text_losses.perplexity import compare, score, summarise
from evals.texts import prose
from models import load
from pruning import PruningConfig, prune


@pytest.fixture(scope="module")
def dense():
    return load("embedded", dtype="float32")


def test_it_knows_english(dense):
    scored = score(dense, prose())
    perplexity, bits = summarise(scored)
    assert perplexity.interval[1] < 200 and bits.interval[1] < 2.5  # its vocabulary has 12 bits a token, 3.4 a byte
    assert perplexity.n >= 8 and perplexity.protocol["text"] == "embedded"


@pytest.mark.slow
@pytest.mark.parametrize("compared", ["row", "layer"])
def test_at_half_sparsity_dense_is_better_than_wanda_and_wanda_than_magnitude(dense, compared):
    """With the same weights compared, which is what makes it a comparison of the two scores."""
    scores = [score(dense, prose())]
    for method in ("wanda", "magnitude"):
        twin = copy.deepcopy(dense.model)
        prune(twin, dense.tokenizer, PruningConfig(method=method, sparsity=0.5, pattern=f"unstructured:{compared}"))
        scores.append(score(dense._replace(model=twin), prose()))
    dense_to_wanda, wanda_to_magnitude = (compare(*pair)[1] for pair in zip(scores, scores[1:], strict=False))
    assert dense_to_wanda.interval[0] > 1
    assert wanda_to_magnitude.value > 1
