"""Patterns that fix the sparsity: the pattern itself says so, one registered later as well."""

import pytest

from models.errors import RequestError
from pruning import PruningConfig, registry
from pruning.patterns import parse
from ui.engine import Settings, pattern_sparsity
from ui.methods import methods_of_registry
from ui.page import build_page
from ui.parts.choosing import hint_text
from ui.texts import Words


@pytest.fixture
def third(monkeypatch):
    """A pattern of another form, registered after the page's own."""

    class Third:
        implied_sparsity = 0.75

        @classmethod
        def parse(cls, text):
            return cls() if text == "third" else None

    known = registry._entries["pattern"]
    registry.entries("pattern")
    monkeypatch.setitem(known, "third", registry.Entry("pattern", "third", "One of four.", Third))


@pytest.mark.parametrize(
    ("pattern", "share"),
    [
        ("2:4:permuted", 0.5),
        ("1:4:permuted", 0.75),
        ("2:4", 0.5),
        ("block:16x16", None),
        ("oval", None),
        ("3:2", None),
    ],
)
def test_the_share_is_asked_of_the_pattern(pattern, share):
    assert pattern_sparsity(pattern) == share


def test_a_pattern_that_is_registered_later_fixes_its_sparsity(third):
    assert pattern_sparsity("third") == 0.75 and Settings("wanda", 0.5, "third").sparsity == 0.75
    assert "third" in methods_of_registry()[0].patterns
    assert parse("third").implied_sparsity == 0.75


def test_every_pattern_that_the_page_offers_makes_settings_that_the_pruner_takes():
    for pattern in methods_of_registry()[0].patterns:
        settings = Settings("wanda", 0.35, pattern)
        assert PruningConfig(settings.method, settings.sparsity, settings.pattern).sparsity == settings.sparsity
    with pytest.raises(RequestError, match="Unknown pattern"):
        parse("oval")


@pytest.mark.parametrize("pattern", ["2:4:permuted", "third"])
def test_the_slider_goes_and_the_hint_tells_why(fake_engine, third, pattern):
    engine = fake_engine()
    methods = methods_of_registry()
    engine.methods = lambda: methods
    page = build_page(engine)
    adapt = next(each.fn for each in page.fns.values() if getattr(each.fn, "__name__", "") == "adapt")
    updates = {component.elem_id: update for component, update in adapt("wanda", pattern, "none", None).items()}
    assert updates["sparsity"]["visible"] is False
    back = {component.elem_id: update for component, update in adapt("wanda", "unstructured", "none", None).items()}
    assert back["sparsity"]["visible"] is True
    assert (
        hint_text(methods[0], pattern, "none", Words()).removeprefix(methods[0].summary).strip()
        in updates["method-hint"]
    )


def test_the_hint_tells_what_is_kept_or_else_the_share(third):
    method = methods_of_registry()[0]
    assert "The pattern third fixes the sparsity: 75" in hint_text(method, "third", "none", Words())
    assert "keeps 2 of every 4 consecutive" in hint_text(method, "2:4:permuted", "none", Words())
