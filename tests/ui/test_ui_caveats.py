"""What the engine knows and a reader must know: texts that were cut, contexts that are full, warnings of the pruner."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from evals.asking.likelihood import score_choices
from training.formats import classification_prompt, completion
from ui.background.streaming import Picture
from ui.background.visitors import Visit
from ui.endpoints import notes_of
from ui.engine import Settings
from ui.figures import warnings_of
from ui.parts.strip import MOST_WARNINGS, strip
from ui.tabs.classify import Verdict, classify_pair, contents
from ui.tabs.scoring import LabelScores
from ui.texts import Words

LONG = "This film is bad and dull. " * 40


def verdicts_of(engine, text, twin=""):
    from threading import Event

    return [v for v in classify_pair(engine, Visit("tiny", twin), text, ["bad", "good"], Event()) if v][-1]


def test_classify_counts_the_tokens_that_it_left_out(fake_engine):
    engine = fake_engine()
    (short,), (long,) = verdicts_of(engine, "A film."), verdicts_of(engine, LONG)
    choices = [completion("bad"), completion("good")]
    scores = score_choices(engine.loaded.model, engine.loaded.tokenizer, classification_prompt(LONG), choices)
    assert short.scores.dropped == 0 and long.scores.dropped == scores[0].dropped > 0 and long.scores.context == 128
    assert list(long.scores.log_likelihoods.values()) == pytest.approx([score.log_likelihood for score in scores])
    assert short.notes(Words()) == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_says_how_many_tokens_were_left_out(language):
    words = Words(language)
    sums = {"bad": -2.0, "good": -2.0}
    cut, whole = LabelScores(sums, {}, 1903, 512), LabelScores(sums, {}, 0, 512)
    shown = contents([Verdict("dense", "plain", cut), Verdict("pruned", "plain", whole)], {}, words)
    assert words("text_cut", n=1903, context=512) in shown["dense"] and "1903" not in shown["pruned"]


def test_the_endpoint_says_so_too(fake_engine, monkeypatch):
    import gradio as gr

    from ui import endpoints

    found = {}
    monkeypatch.setattr(gr, "api", lambda function, api_name, **options: found.__setitem__(api_name, function))
    engine = fake_engine()
    endpoints.add_endpoints(engine)
    engine.worker.run(lambda: engine.prune("tiny", Settings("magnitude"), lambda *now: None))
    cut, whole = found["classify"](LONG), found["classify"]("A film.")
    for side in ("dense", "pruned"):
        assert cut[side]["dropped"] > 0 and str(cut[side]["dropped"]) in cut[side]["notes"][0]
        assert whole[side]["dropped"] == 0 and whole[side]["notes"] == []
    answer = found["answer"]("The cat sleeps.", "Who sleeps?", max_new_tokens=1)
    assert answer["dense"]["finished"] != "length" or answer["dense"]["notes"]


def test_a_full_context_is_a_note_of_the_endpoints():
    picture = Picture("text", 5, 0.1, 20.0, "context")
    assert notes_of(picture) == [Words()("note_context")]
    assert notes_of(replace(picture, finished="end")) == []
    assert notes_of(replace(picture, finished="end", rereads=True)) == [Words()("rereads_help")]


def test_warnings_of_the_pruner_and_the_packer_are_passed_on():
    report = SimpleNamespace(warnings=("3 channels were zero.",), packing=SimpleNamespace(left=("experts",)))
    assert warnings_of(report) == ["3 channels were zero.", "Not packed: experts."]
    assert warnings_of(SimpleNamespace(warnings=(), packing=None)) == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_strip_shows_the_first_warnings_and_counts_the_rest(fake_engine, language):
    engine, words = fake_engine(), Words(language)
    twin = engine.worker.run(lambda: engine.prune("tiny", Settings("magnitude"), lambda *now: None))
    few = replace(twin, change=replace(twin.change, warnings=("<b>first</b>",)))
    many = replace(twin, change=replace(twin.change, warnings=tuple(f"w{n}." for n in range(MOST_WARNINGS + 2))))
    assert "&lt;b&gt;first&lt;/b&gt;" in strip(few, "tiny", engine, words)
    shown = strip(many, "tiny", engine, words)
    assert f"w{MOST_WARNINGS - 1}." in shown and f"w{MOST_WARNINGS}." not in shown
    assert words("warned_more", n=2) in shown
