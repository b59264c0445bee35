"""BLEU and chrF from sums, against sacrebleu itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.judging.translation import bleu, bleu_statistics, chrf, chrf_statistics, signatures

sacrebleu = pytest.importorskip("sacrebleu.metrics")

VOCABULARY = "two men are in front of a red house , talking . 1.5 (U.S.)".split()
ENGLISH = st.lists(st.sampled_from(VOCABULARY), max_size=9).map(" ".join)
CHINESE = st.lists(st.sampled_from("两个人在红房子前说话。 Tom3"), max_size=12).map("".join)


def pairs(texts):
    return st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=5)


def agree(corpus, language, tokenize):
    written, *streams = map(list, zip(*corpus, strict=True))
    expected = sacrebleu.BLEU(tokenize=tokenize).corpus_score(written, streams).score
    ours = np.array([bleu_statistics(text, references, language) for text, *references in corpus])
    assert float(bleu(ours.sum(0))) == pytest.approx(expected, abs=1e-6)
    expected = sacrebleu.CHRF().corpus_score(written, streams).score
    ours = np.array([chrf_statistics(text, references) for text, *references in corpus])
    assert float(chrf(ours.sum(0))) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)  # the first example imports sacrebleu
@given(pairs(ENGLISH))
def test_english_equals_sacrebleu_with_several_references(corpus):
    agree(corpus, "en", "13a")


@settings(deadline=None)
@given(pairs(CHINESE))
def test_chinese_equals_sacrebleu(corpus):
    agree(corpus, "zh", "zh")


@pytest.mark.parametrize(
    "corpus",
    [
        [("", "Two men talk.")],
        [("Two men talk.", "Two men talk.")],
        [("Two young men are talking outside.", "Two young men are outside."), ("", "A dog runs.")],
        [("Zwei Männer", "Zwei Männer reden vor dem roten Haus."), ("x", "y")],
        [("one two three four five", "one two six four five")],
    ],
)
def test_it_equals_sacrebleu_for(corpus):
    agree(corpus, "de", "13a")


def test_many_resamples_at_once_equal_one_after_the_other():
    corpus = [("Two men are talking.", "Two men talk."), ("", "A dog runs."), ("A dog runs here.", "A dog runs there.")]
    drawn = np.random.default_rng(0).integers(0, 4, size=(2, 5, 3))
    for reduce, taken in ((bleu, lambda *pair: bleu_statistics(*pair, "en")), (chrf, chrf_statistics)):
        sums = drawn @ np.array([taken(written, [reference]) for written, reference in corpus])
        values = reduce(sums)
        assert values.shape == (2, 5)
        np.testing.assert_allclose(values, [[float(reduce(row)) for row in rows] for rows in sums])


def test_a_resample_equals_sacrebleu_of_the_resampled_corpus():
    corpus = [("Two men are talking.", "Two men talk."), ("A dog runs here.", "A dog runs there."), ("x", "A cat.")]
    drawn = [2, 0, 0, 1, 0]
    sums = sum(np.array(bleu_statistics(corpus[at][0], [corpus[at][1]], "en")) for at in drawn)
    written, references = zip(*(corpus[at] for at in drawn), strict=True)
    expected = sacrebleu.BLEU().corpus_score(list(written), [list(references)]).score
    assert float(bleu(sums)) == pytest.approx(expected, abs=1e-6)


def test_signatures_are_sacrebleus_own():
    for metric, name in ((sacrebleu.BLEU(tokenize="zh"), "bleu"), (sacrebleu.CHRF(), "chrf")):
        metric.corpus_score(["一"], [["一"], ["二"]])
        assert signatures("zh", [2, 2])[name] == str(metric.get_signature())
    assert "tok:13a" in signatures("de", [1])["bleu"] and "nrefs:1" in signatures("de", [1])["chrf"]
    assert "nrefs:var" in signatures("de", [1, 3])["bleu"]
