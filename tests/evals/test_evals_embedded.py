"""The embedded model on the embedded text: it knows English, and Wanda costs it less than magnitude."""

import copy

import pytest

from evals.perplexity import compare, score, summarise
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


def test_at_half_sparsity_dense_is_better_than_wanda_and_wanda_than_magnitude(dense):
    scores = [score(dense, prose())]
    for method in ("wanda", "magnitude"):
        twin = copy.deepcopy(dense.model)
        prune(twin, dense.tokenizer, PruningConfig(method=method, sparsity=0.5, samples=32))
        scores.append(score(dense._replace(model=twin), prose()))
    for better, worse in zip(scores, scores[1:], strict=False):
        assert compare(better, worse)[1].interval[0] > 1
