"""Duplicates: the estimate against the exact similarity, what is found and what is not, and what is forgotten."""

import random
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.duplicates import BANDS, ROWS, SeenDocuments, band_keys, fingerprint, similarity
from training.words import Document

WORDS = [f"word{i}" for i in range(400)]


def text(seed, count=400):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def changed(original, times, seed=0):
    generator = random.Random(seed)
    parts = original.split()
    for place in generator.sample(range(len(parts)), times):
        parts[place] = "other" + parts[place]
    return " ".join(parts)


def jaccard(one, other, n=5):
    sets = [{tuple(w[i : i + n]) for i in range(len(w) - n + 1)} for w in (one.split(), other.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.fixture
def seen():
    return SeenDocuments(sqlite3.connect(":memory:"))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 120), st.integers(0, 1000))
def test_the_estimate_is_near_the_exact_similarity(times, seed):
    one = text(seed)
    other = changed(one, times, seed)
    estimate = similarity(fingerprint(Document(one)).signature, fingerprint(Document(other)).signature)
    exact = jaccard(one, other)
    assert abs(estimate - exact) <= 4.5 * (exact * (1 - exact) / (BANDS * ROWS)) ** 0.5 + 1e-9


def test_word_for_word_but_for_case_and_punctuation(seen):
    seen.add(4, fingerprint(Document("One two three, four five six!")))
    match = seen.find(fingerprint(Document("one TWO three\n\nfour — five (six)")))
    assert (match.kind, match.document, match.similarity) == ("exact", 4, 1.0)


def test_near_duplicates_are_found_and_others_are_not(seen):
    for number in range(40):
        seen.add(number, fingerprint(Document(text(number))))
    for number in range(40):
        match = seen.find(fingerprint(Document(changed(text(number), 5))))
        assert match.kind == "near" and match.document == number and match.similarity >= 0.8
        assert seen.find(fingerprint(Document(text(number + 1000)))) is None
        half = changed(text(number), 60)
        assert jaccard(text(number), half) < 0.5 and seen.find(fingerprint(Document(half))) is None


def test_the_earliest_document_is_named(seen):
    original = text(1)
    seen.add(7, fingerprint(Document(changed(original, 2, 1))))
    seen.add(9, fingerprint(Document(changed(original, 2, 2))))
    assert seen.find(fingerprint(Document(original))).document == 7


@pytest.mark.parametrize("short", ["one", "one two", "one two three four"])
def test_documents_shorter_than_a_shingle(seen, short):
    seen.add(0, fingerprint(Document(short)))
    assert seen.find(fingerprint(Document(short.upper()))).kind == "exact"
    assert seen.find(fingerprint(Document(f"another {short}"))) is None


def test_bands_share_a_key_only_where_they_are_equal():
    one, other = (fingerprint(Document(t)).signature for t in (text(3), changed(text(3), 12)))
    width = 4 * ROWS
    for band, (first, second) in enumerate(zip(band_keys(one), band_keys(other), strict=True)):
        place = slice(band * width, (band + 1) * width)
        assert (first == second) == (one[place] == other[place])
    assert len(set(band_keys(bytes(4 * ROWS * BANDS)))) == BANDS


def test_what_is_seen_lies_in_the_file(tmp_path):
    database = sqlite3.connect(tmp_path / "seen.sqlite")
    SeenDocuments(database).add(3, fingerprint(Document(text(3))))
    database.commit()
    database.close()
    again = SeenDocuments(sqlite3.connect(tmp_path / "seen.sqlite"))
    assert again.find(fingerprint(Document(changed(text(3), 4)))).document == 3
