"""Augmentation: what each change may do to a text, and which words are near which."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.augmentation import CHANGES, augment, delete, insert, replace, swap
from training.neighbours import FIXED, near_neighbours

NEAR = {"warm": ("bright", "kind"), "film": ("movie",), "dull": ("slow",)}
TEXT = "A Warm film, not a dull one."
generators = st.integers(0, 10**6).map(random.Random)
texts = st.lists(st.sampled_from(["Warm", "film,", "dull", "not", "a", "(film)", "one."]), min_size=1, max_size=20)


@given(texts, st.integers(0, 5), generators)
def test_replacing_keeps_the_number_of_words_and_all_others(parts, times, generator):
    changed = replace(parts, times, generator, NEAR)
    different = [(old, new) for old, new in zip(parts, changed, strict=True) if old != new]
    possible = sum(part not in ("not", "a", "one.") for part in parts)
    assert len(different) == min(times, possible)
    allowed = {"Warm": {"Bright", "Kind"}, "film,": {"movie,"}, "(film)": {"(movie)"}, "dull": {"slow"}}
    assert all(new in allowed[old] for old, new in different)


@given(texts, st.integers(0, 5), generators)
def test_insertion_adds_neighbours_and_leaves_the_rest_in_order(parts, times, generator):
    changed = insert(parts, times, generator, NEAR)
    possible = any(part not in ("not", "a", "one.") for part in parts)
    assert len(changed) == len(parts) + times * possible
    added = Counter(changed) - Counter(parts)
    assert set(added) <= {"bright", "kind", "movie", "slow"}
    assert [part for part in changed if part not in added] == parts


@given(texts, st.integers(0, 5), generators)
def test_swapping_keeps_the_words(parts, times, generator):
    assert sorted(swap(parts, times, generator, NEAR)) == sorted(parts)


@given(texts, st.integers(0, 25), generators)
def test_deletion_leaves_an_ordered_rest_with_every_negation(parts, times, generator):
    rest = delete(parts, times, generator, NEAR)
    assert 1 <= len(rest) and len(rest) >= len(parts) - times
    remaining = iter(parts)
    assert all(part in remaining for part in rest)
    assert rest.count("not") == parts.count("not")


@given(st.integers(0, 10**6))
def test_the_generator_decides(seed):
    assert augment(TEXT, random.Random(seed), NEAR) == augment(TEXT, random.Random(seed), NEAR)


def test_every_change_is_made_sometimes():
    generator = random.Random(0)
    found = {augment(TEXT, generator, NEAR) for _ in range(200)}
    sizes = {len(text.split()) for text in found}
    assert sizes == {6, 7, 8} and len(found) > 40 and TEXT not in found and len(CHANGES) == 4


@pytest.mark.parametrize("text", ["", "word", "  "])
def test_a_text_without_two_words_stays(text):
    assert augment(text, random.Random(0), NEAR) == text


def test_words_in_the_same_places_are_near():
    generator = random.Random(0)
    kinds = {"cat": "furry", "dog": "furry", "car": "fast", "bus": "fast", "not": "furry"}
    ends = {"furry": ("purrs", "sleeps"), "fast": ("drives", "brakes")}
    sentences = []
    for _ in range(600):
        animal = generator.choice(list(kinds))
        filler = " ".join(f"f{generator.randrange(35)}" for _ in range(6))
        sentences.append(f"{filler} {kinds[animal]} {animal}, {generator.choice(ends[kinds[animal]])} {filler}")
    near = near_neighbours(sentences * 2, neighbours=1)
    found = {word: near[word] for word in ("cat", "dog", "car", "bus") if word in near}
    wanted = {"cat": ("dog",), "dog": ("cat",), "car": ("bus",), "bus": ("car",)}
    assert len(found) >= 2 and all(wanted[word] == other for word, other in found.items())
    assert not FIXED & set(near) and all(not FIXED & set(others) for others in near.values())


def test_no_texts_have_no_neighbours():
    assert near_neighbours([]) == {} and near_neighbours(["one", "two"]) == {}
