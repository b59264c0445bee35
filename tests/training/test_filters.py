"""Cleaning and filters: one form for every text, each rule at its limit, and repetition against a plain count."""

import random
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import RequestError
from training import filters
from training.cleaning import clean
from training.filters import FILTERS, Limits, why_dropped
from training.words import Document, run_hashes, word_hashes, words

ANY = Limits(minimum_words=1, language="any")
ENGLISH = Limits(minimum_words=5)
PROSE = (
    "The gardener ties the young branches to the wall, and cuts what grows away from it. A tree that is pruned well "
    "bears more fruit than one left to itself, for light and air come to every leaf. In winter the bare shape is seen."
)


ELLIPSES = (
    "the apple and the pear and what grows there…\nthat of plums and much else of that garden...\nto the cherry\n"
)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("cafe\u0301", "café"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("\ufeffso\u00adft\u200b\x00 \x1b[0m", "soft [0m"),
        ("end  \t\n\n\n\n  next", "end\n\n  next"),
        ("x² ﬁ 中文 👩\u200d🌾", "x² ﬁ 中文 👩\u200d🌾"),
        ("half \ud800 a pair", "half  a pair"),
    ],
)
def test_cleaning(raw, cleaned):
    assert clean(raw) == cleaned


@given(st.text(st.characters()))
def test_clean_text_stays_as_it_is(raw):
    text = clean(raw)
    assert clean(text) == text and unicodedata.is_normalized("NFC", text)
    assert "\r" not in text and "\n\n\n" not in text
    text.encode()


def test_words_are_lower_case_and_chinese_ones_single():
    assert words("Don't: café, 3.5 在花园里!") == ["don", "t", "café", "3", "5", "在", "花", "园", "里"]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(1, 6))
def test_equal_runs_have_equal_hashes_and_others_have_not(found, longest):
    runs = run_hashes(word_hashes(found), longest)
    for n in range(1, longest + 1):
        real = [tuple(found[i : i + n]) for i in range(max(len(found) - n + 1, 0))]
        assert len(runs[n]) == len(real)
        assert len(set(runs[n].tolist())) == len(set(real))
        assert len(set(zip(runs[n].tolist(), real, strict=True))) == len(set(real))


def test_hashes_do_not_change_between_processes():
    assert [hex(value) for value in word_hashes(["the", "树"])] == ["0x2e3a97906cabda5e", "0xe829f6d6218206f"]


def test_prose_passes():
    assert why_dropped(Document(PROSE), ENGLISH) is None


@pytest.mark.parametrize(
    ("text", "limits", "name", "reason"),
    [
        ("the end of it", ENGLISH, "length", "4 words"),
        ("", ENGLISH, "length", "0 words"),
        ("a b c of to " * 9, ENGLISH, "word_length", "1.4 letters"),
        ("der Gärtner bindet die jungen Zweige fest und schneidet", ENGLISH, "language", "0.0%"),
        ("gardens gardens gardens with gardens gardens with", ENGLISH, "language", "28.6%"),
        ("the sum of 1711 and 2499 5171 6000 7321 1988 9919 to that 88190 81 755 61", ENGLISH, "letters", "35%"),
        ("the #orchard of #plums and to #cherries", ENGLISH, "symbols", "0.43"),
        ("- the apple and pear\n-that of plums\n*to the cherry", ENGLISH, "lists", "100% of the lines begin"),
        (ELLIPSES, ENGLISH, "lists", "67% of the lines end"),
        (f"{PROSE}\nSee the notes of it.\n" * 3, ENGLISH, "repeated_lines", "67% of the lines"),
        ("in the garden of and to come over in the garden of that by", ENGLISH, "frequent_run", "run of 2"),
        (f"{PROSE} {PROSE} Come.", ENGLISH, "repeated_runs", "runs of 5 words are"),
    ],
)
def test_each_filter_drops_what_it_is_for(text, limits, name, reason):
    dropped = why_dropped(Document(text), limits)
    assert dropped and dropped[0] == name and reason in dropped[1]


def test_any_language_has_no_rules_of_english():
    chinese = "园丁把嫩枝绑在墙上,剪去长歪的部分。修剪得当的树结的果子更多。冬天可以看见树的形状。"
    assert why_dropped(Document(chinese), Limits(20, "any")) is None
    assert why_dropped(Document(chinese), Limits(20))[0] == "word_length"


def test_every_rule_says_what_it_does():
    assert len({rule.__name__ for rule in FILTERS}) == len(FILTERS) and all(rule.__doc__ for rule in FILTERS)


@pytest.mark.parametrize("options", [dict(minimum_words=0), dict(language="fr")])
def test_senseless_limits_are_refused(options):
    with pytest.raises(RequestError, match="at least one word, and a language of en, any"):
        Limits(**options)


def share_of_repeated(found, n):
    """By hand: the letters of the words in runs that stood before, over all letters."""
    seen, covered = set(), set()
    for i in range(len(found) - n + 1):
        run = tuple(found[i : i + n])
        if run in seen:
            covered |= set(range(i, i + n))
        seen.add(run)
    return sum(len(found[i]) for i in covered) / sum(map(len, found))


def share_of_most_frequent(found, n):
    counts = Counter(tuple(found[i : i + n]) for i in range(len(found) - n + 1))
    most = max(counts.values(), default=0)
    shares = {c * sum(map(len, run)) / sum(map(len, found)) for run, c in counts.items() if c == most}
    return shares if most > 1 else {0}


@given(st.integers(0, 10**6), st.integers(3, 60), st.integers(2, 12))
def test_repetition_is_what_a_plain_count_says(seed, count, different):
    generator = random.Random(seed)
    found = generator.choices(
        ["a", "bb", "ccc", "dddd", "e", "ff", "ggg", "h", "ii", "jj", "kk", "l"][:different], k=count
    )
    document = Document(" ".join(found))
    over = [n for n, limit in filters.REPEATED_RUNS.items() if len(found) >= n and share_of_repeated(found, n) > limit]
    reason = filters.repeated_runs(document, ANY)
    assert (reason is not None) == bool(over)
    assert reason is None or f"of {over[0]} words are {share_of_repeated(found, over[0]):.0%}" in reason
    shares = {n: share_of_most_frequent(found, n) for n in filters.MOST_FREQUENT_RUN if len(found) >= n}
    if any(min(s) > filters.MOST_FREQUENT_RUN[n] for n, s in shares.items()):
        assert filters.frequent_run(document, ANY)
    if all(max(s) <= filters.MOST_FREQUENT_RUN[n] for n, s in shares.items()):
        assert filters.frequent_run(document, ANY) is None
