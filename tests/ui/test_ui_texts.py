"""The catalogue: every key in both languages with the same fields, every key used, the language of a request."""

import string
from pathlib import Path

import pytest

from ui.texts import ENGLISH, LANGUAGES, Words, label, preferred

UI = Path(__file__).parents[2] / "ui"


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_key_with_the_same_fields(language):
    catalogue = LANGUAGES[language]
    assert list(catalogue) == list(ENGLISH)
    assert {key: fields(text) for key, text in catalogue.items()} == {
        key: fields(text) for key, text in ENGLISH.items()
    }
    assert all(text.strip() for text in catalogue.values())


def test_chinese_texts_are_chinese():
    untranslated = [key for key, text in LANGUAGES["zh"].items() if text == ENGLISH[key]]
    assert set(untranslated) <= {"top_p", "top_k", "min_p"}


def test_no_key_is_left_over():
    source = "".join(path.read_text(encoding="utf-8") for path in UI.rglob("*.py") if path.parent.name != "texts")
    composed = ("asked_", "ended_", "lane_", "layout_", "saves_", "tab_")
    unused = [key for key in ENGLISH if f'"{key}"' not in source and f"'{key}'" not in source]
    assert [key for key in unused if not key.startswith(composed)] == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.1", "en"),
        ("de-DE,de;q=0.9,zh-TW;q=0.5", "zh"),
        ("fr", "en"),
        ("en;q=0.2, zh;q=0.7", "zh"),
        ("zh;q=nonsense", "en"),
        ("zh;q=0", "en"),
    ],
)
def test_the_language_follows_the_browser(header, language):
    assert preferred(header) == language


def test_unknown_keys_are_mistakes():
    with pytest.raises(KeyError):
        Words()("no such key")
    with pytest.raises(KeyError):
        label("no such key")
