"""Exact match and F1 of SQuAD 1.1, SQuAD 2.0 and CMRC 2018."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.judging import cmrc
from evals.judging.squad import answer_or_none, exact_match, normalise, token_f1, with_no_answer

WORDS = st.lists(st.sampled_from(["oil", "crisis", "1973", "March", "Denver"]), min_size=1, max_size=6).map(" ".join)
SPOKEN = st.lists(st.sampled_from(["oil", "The", "a", "crisis", ".", "1973", ""]), max_size=5).map(" ".join)
CHINESE = st.lists(st.sampled_from("光荣公司制作的2018年Web，。《》… -"), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("The  Denver Broncos!", "denver broncos"),
        ("an U.S. dollar", "us dollar"),
        ("theory of a", "theory of"),
        ("$12", "12"),
    ],
)
def test_normalisation(raw, normal):
    assert normalise(raw) == normal


@pytest.mark.parametrize(
    ("answer", "references", "em", "f1"),
    [
        ("the October 1973", ["October 1973", "1973"], 1, 1),
        ("October", ["October 1973"], 0, 2 / 3),
        ("in October of 1973", ["October 1973", "1973"], 0, 2 * 2 / 6),
        ("nothing alike", ["October"], 0, 0),
        ("to to be", ["to be or"], 0, 2 * 2 / 6),
        ("", ["October"], 0, 0),
    ],
)
def test_scores(answer, references, em, f1):
    assert exact_match(answer, references) == em
    assert token_f1(answer, references) == pytest.approx(f1)


@given(WORDS, WORDS)
def test_f1_is_symmetric_and_bounded_and_one_where_they_match(one, two):
    assert token_f1(one, [two]) == token_f1(two, [one])
    assert 0 <= token_f1(one, [two]) <= 1
    assert token_f1(one, [two, one]) == 1 and exact_match(one, [two, one]) == 1


def official_squad2(references, prediction):
    """Exact match and F1 as the official script has them: written again, from precision and recall."""
    golds = [gold for gold in references if normalise(gold)] or [""]

    def overlap(gold):
        wanted, given = normalise(gold).split(), normalise(prediction).split()
        if not wanted or not given:
            return float(wanted == given)
        same = (Counter(wanted) & Counter(given)).total()
        if not same:
            return 0.0
        precision, recall = same / len(given), same / len(wanted)
        return 2 * precision * recall / (precision + recall)

    return max(float(normalise(gold) == normalise(prediction)) for gold in golds), max(map(overlap, golds))


@given(st.lists(SPOKEN, max_size=3), SPOKEN)
def test_squad_2_equals_the_official_definition(references, prediction):
    em, f1 = official_squad2(references, prediction)
    assert with_no_answer(exact_match, prediction, references) == em
    assert with_no_answer(token_f1, prediction, references) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("text", "answer"),
    [(" unanswerable", ""), ("Unanswerable.", ""), (" 1973", " 1973"), ("unanswerable now", "unanswerable now")],
)
def test_the_word_for_no_answer_is_no_answer(text, answer):
    assert answer_or_none(text, "unanswerable") == answer


def official_cmrc(references, prediction):
    """The official script's way: character by character with a buffer, then every common substring."""
    from nltk.tokenize import NLTKWordTokenizer

    drop = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")

    def segment(text):
        found, buffer = [], ""
        for character in [*text.lower().strip(), "的"]:
            if character in drop:
                continue
            if "\u4e00" <= character <= "\u9fa5":
                found += [*NLTKWordTokenizer().tokenize(buffer), character]
                buffer = ""
            else:
                buffer += character
        return found[:-1]

    def common(one, two):
        runs = [one[start:end] for start in range(len(one)) for end in range(start + 1, len(one) + 1)]
        pieces = [two[start:end] for start in range(len(two)) for end in range(start + 1, len(two) + 1)]
        return max((len(run) for run in runs if run in pieces), default=0)

    def bare(text):
        return [character for character in text.lower().strip() if character not in drop]

    best = 0.0
    for gold in references:
        one, two = segment(gold), segment(prediction)
        if shared := common(one, two):
            precision, recall = shared / len(two), shared / len(one)
            best = max(best, 2 * precision * recall / (precision + recall))
    return float(any(bare(gold) == bare(prediction) for gold in references)), best


@settings(deadline=None)  # the first example imports NLTK
@given(st.lists(CHINESE, min_size=1, max_size=3), CHINESE)
def test_cmrc_equals_the_official_definition(references, prediction):
    em, f1 = official_cmrc(references, prediction)
    assert cmrc.exact_match(prediction, references) == em
    assert cmrc.run_f1(prediction, references) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "reference", "em", "f1"),
    [
        ("《战国无双3》。", "战国无双3", 1, 1),
        ("光荣和force", "光荣和ω-force", 0, 2 * 3 / 8),
        ("光公荣司", "光荣公司", 0, 2 * 1 / 8),  # a common subsequence would give 3 of 4
        ("IN 2018年", "in 2018年", 1, 1),
        ("", "光荣", 0, 0),
        ("……", "…", 0, 0),
    ],
)
def test_cmrc_by_hand(answer, reference, em, f1):
    assert cmrc.exact_match(answer, [reference]) == em
    assert cmrc.run_f1(answer, [reference]) == pytest.approx(f1)


def test_cmrc_segments():
    assert cmrc.segments("在2018 年《Web Days》举行。") == ["在", "2018", "年", "web", "days", "举", "行"]
    assert cmrc.segments("，。 ") == []
