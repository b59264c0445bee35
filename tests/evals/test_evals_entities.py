"""Named entities: tags read, answers parsed, entities counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.judging import entities
from evals.judging.entities import as_listed, counts, listed, tagged

TYPES = {"PER": "Persons", "ORG": "Organizations", "LOC": "Locations"}
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"])
NAMES = st.text("abcXYZ é.'-北京 ", min_size=1, max_size=8).map(lambda text: " ".join(text.split())).filter(
    lambda name: name.strip(entities.MARKS) == name and name and name.casefold() != "none"
)  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-PER I-PER O", [("PER", "b c")]),
        ("B-LOC B-LOC I-LOC O", [("LOC", "a"), ("LOC", "b c")]),
        ("B-PER I-ORG O I-LOC", [("PER", "a"), ("ORG", "b"), ("LOC", "d")]),
        ("O O O O", []),
        ("O O O B-ORG", [("ORG", "d")]),
    ],
)
def test_tags(tags, found):
    assert list(tagged(list("abcd"), tags.split())) == found


@given(st.lists(TAGS, max_size=8))
def test_every_word_that_is_not_outside_is_in_one_entity(tags):
    words = [f"w{at}" for at in range(len(tags))]
    inside = [word for word, tag in zip(words, tags, strict=True) if tag != "O"]
    assert [word for _, run in tagged(words, tags) for word in run.split()] == inside


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (" Persons: Ada; Bo Li | Organizations: none | Locations: Paris", "PER Ada;PER Bo Li;LOC Paris"),
        (" persons : Ada\nLOC: “Rome”, \nPER: Ada", "PER Ada;LOC Rome;PER Ada"),
        ("Locations：北京；", "LOC 北京；"),
        ("I think there are none", ""),
        ("Kanye West | Persons:", ""),
        ("; | : :: Persons Locations none", ""),
        ("Salespersons: x", ""),
        ("Organızations: x", ""),
        ("", ""),
    ],
)
def test_answers(answer, found):
    assert [" ".join(entity) for entity in listed(answer, TYPES)] == [part for part in found.split(";") if part]


@given(st.text(max_size=60))
def test_no_answer_breaks_the_parser(answer):
    assert all(kind in TYPES and surface.strip() for kind, surface in listed(answer, TYPES))


@given(st.lists(st.tuples(st.sampled_from([*TYPES]), NAMES), max_size=6))
def test_what_is_listed_is_read_back(wanted):
    assert counts(listed(as_listed(wanted, TYPES), TYPES), wanted) == [len(wanted), 0, 0]


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ([("PER", "A"), ("PER", "A")], [("PER", "A")], [1, 1, 0]),
        ([("PER", "A")], [("LOC", "A")], [0, 1, 1]),
        ([("PER", "O'Hara , Jr.")], [("PER", "O 'Hara, Jr")], [1, 0, 0]),
        ([], [("PER", "A"), ("PER", "A")], [0, 0, 2]),
        ([("PER", "a")], [("PER", "A")], [0, 1, 1]),
    ],
)
def test_counts(found, wanted, expected):
    assert counts(found, wanted) == expected


def test_precision_recall_and_f1_of_sums():
    sums = np.array([[3.0, 1, 2], [0, 0, 5], [0, 4, 0], [0, 0, 0]])
    np.testing.assert_allclose(entities.precision(sums), [3 / 4, 0, 0, 0])
    np.testing.assert_allclose(entities.recall(sums), [3 / 5, 0, 0, 0])
    np.testing.assert_allclose(entities.f1(sums), [2 * 0.75 * 0.6 / 1.35, 0, 0, 0])
    assert entities.f1(sums.reshape(2, 2, 3)).shape == (2, 2)


@settings(deadline=None)  # the first example imports scikit-learn
@given(st.lists(st.tuples(st.lists(TAGS, max_size=6), st.lists(TAGS, max_size=6)), min_size=1, max_size=6))
def test_micro_averages_equal_scikit_learns_over_one_item_an_entity(pairs):
    sklearn = pytest.importorskip("sklearn.metrics")
    rows, truth, given_ = [], [], []
    for first, second in pairs:
        # Words that are all different: a multiset of entities is then a set of places, as the usual scripts score.
        size = min(len(first), len(second))
        words = [f"w{at}" for at in range(size)]
        found, wanted = list(tagged(words, first[:size])), list(tagged(words, second[:size]))
        rows.append(counts(found, wanted))
        for entity in {*found, *wanted}:
            truth.append(entity in wanted)
            given_.append(entity in found)
    sums = np.array(rows).sum(0)
    expected = [0, 0, 0]
    if truth:
        expected = sklearn.precision_recall_fscore_support(truth, given_, average="binary", zero_division=0)
    np.testing.assert_allclose([entities.precision(sums), entities.recall(sums), entities.f1(sums)], expected[:3])
