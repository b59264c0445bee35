"""ROUGE for any language, against rouge_score and by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.judging.summaries import TYPES, by_sentence, protocol, rouge
from evals.judging.words import words

scorer = pytest.importorskip("rouge_score.rouge_scorer")

VOCABULARY = "She asks him to buy apples and he agreed . Tom's buying !".split()
SENTENCES = st.lists(st.sampled_from(VOCABULARY), max_size=10).map(" ".join)


@settings(deadline=None)
@given(SENTENCES, st.lists(SENTENCES, min_size=1, max_size=3))
def test_english_equals_rouge_score_with_a_line_for_each_sentence(summary, references):
    reference = scorer.RougeScorer(list(TYPES), use_stemmer=True)
    expected = reference.score_multi([by_sentence(text) for text in references], by_sentence(summary))
    found = rouge(summary, references)
    assert found == {name: expected[name].fmeasure for name in TYPES}
    # What a line is matters to rougeLsum alone.
    plain = reference.score_multi(references, summary)
    assert all(found[name] == plain[name].fmeasure for name in TYPES if name != "rougeLsum")


def test_the_best_reference_counts_for_each_score():
    best = rouge("the cat sat", ["the cat sat", "a dog"])
    assert set(best.values()) == {1.0}
    assert rouge("the cat sat", ["a dog"])["rouge1"] == 0


def test_the_stemmer_is_english():
    assert rouge("he was buying apples", ["he was buys apple"])["rouge1"] == pytest.approx(1)
    assert rouge("er kaufte Äpfel", ["er kaufte Apfel"], "de")["rouge1"] == pytest.approx(2 / 3)


def test_chinese_is_counted_by_characters():
    found = rouge("她买了2个苹果。他同意。", ["他买了2个梨。"], "zh")
    assert found["rouge1"] == pytest.approx(2 * 5 / (10 + 6))  # 买 了 2 个 他 of 10 and of 6
    assert found["rouge2"] == pytest.approx(2 * 3 / (9 + 5))
    assert found["rougeL"] == pytest.approx(2 * 4 / (10 + 6))
    assert rouge("苹果", ["苹果"], "zh") == dict.fromkeys(TYPES, 1.0)


def test_a_summary_in_another_order_of_sentences_keeps_its_summary_level_score():
    found = rouge("He agrees. She buys red apples.", ["She buys red apples. He agrees."])
    assert found["rougeLsum"] == pytest.approx(1) and found["rougeL"] < 1


def test_nothing_written_scores_nothing():
    assert set(rouge("", ["He agrees."]).values()) == {0.0}
    assert set(rouge("", ["他同意。"], "zh").values()) == {0.0}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("He goes. She too!  Why?", "He goes.\nShe too!\nWhy?"),
        ("好。走吧！", "好。\n走吧！"),
        ("1.5 m", "1.5 m"),
        (" a ", "a"),
    ],
)
def test_lines_of_sentences(text, lines):
    assert by_sentence(text) == lines


def test_the_protocol_says_how_words_were_found():
    assert protocol("en")["stemmer"] == "Porter" and protocol("zh")["stemmer"] == "none"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2只 cats!", ["2", "只", "cats"]),
        ("Äpfel, naïve_x", ["äpfel", "naïve_x"]),
        ("カタカナと漢字", list("カタカナと漢字")),
        ("한국어 단어", ["한국어", "단어"]),
        ("abc中文def", ["abc", "中", "文", "def"]),
        ("𠀀𠀁a", ["𠀀", "𠀁", "a"]),
        ("…!? ", []),
    ],
)
def test_words_of_any_script(text, found):
    assert words(text) == found
