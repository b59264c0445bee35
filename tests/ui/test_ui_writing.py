"""The pair writing over a real tiny model: characters stay whole, the parting is where it is said to be."""

import threading

import pytest

from models.decoding import Generation
from models.errors import Cancelled, RequestError
from models.sampling import Sampling
from ui.background.visitors import Runs, Visit
from ui.background.writing import continuing, find_parting, write_pair
from ui.engine import Settings, Twin
from ui.parts.choosing import first_visit, follow_pruning, settings_of, strip_of
from ui.texts import Words


def scenes_of(engine, visit, prompt="The garden", tokens=24, stop=None, **sampling):
    stop = stop or threading.Event()
    return [
        s for s in write_pair(engine, visit, continuing(prompt), Sampling(tokens, **sampling), stop) if s is not None
    ]


def pruned(engine, sparsity=0.9):
    return engine.worker.run(lambda: engine.prune("tiny", Settings("magnitude", sparsity), lambda *now: None))


def test_both_sides_write_what_they_write_alone(fake_engine):
    engine = fake_engine()
    twin = pruned(engine)
    last = scenes_of(engine, Visit("tiny", twin.key))[-1]
    assert last.over and last.names == ("dense", "pruned")
    for loaded, picture in zip((engine.loaded, twin.loaded), last.pictures, strict=False):
        alone = Generation(loaded.model, loaded.tokenizer, "The garden", Sampling(24)).run()
        assert picture.text == alone.text and picture.tokens == len(alone.ids)


def test_what_is_shown_only_grows_and_never_holds_half_a_character(fake_engine):
    engine = fake_engine()
    texts = [
        scene.pictures[0].text for scene in scenes_of(engine, Visit("tiny"), "在花园里", 60, temperature=2.0, seed=3)
    ]
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:-1], strict=False))
    assert all("\ufffd" not in text.rstrip("\ufffd") or "\ufffd" in texts[-1] for text in texts)


def test_the_parting_marks_the_first_tokens_that_differ(fake_engine):
    engine = fake_engine()
    twin = pruned(engine)
    writers = [
        Generation(m, engine.loaded.tokenizer, "The garden", Sampling(24)).run()
        for m in (engine.loaded.model, twin.loaded.model)
    ]
    parting = find_parting(writers, engine.loaded.tokenizer)
    ids = [writer.ids for writer in writers]
    same = next(i for i in range(24) if ids[0][i] != ids[1][i])
    assert parting.at == same + 1 and parting.same == same
    for writer, (start, end) in zip(writers, parting.spans, strict=False):
        assert 0 <= start <= end <= len(writer.text)
    assert writers[0].text[: parting.spans[0][0]] == writers[1].text[: parting.spans[1][0]]


def test_equal_texts_do_not_part(fake_engine):
    engine = fake_engine()
    writers = [Generation(engine.loaded.model, engine.loaded.tokenizer, "The", Sampling(n)).run() for n in (8, 8, 5)]
    assert find_parting(writers[:2], engine.loaded.tokenizer).whole
    shorter = find_parting(writers[1:], engine.loaded.tokenizer)
    assert shorter.at is None and shorter.same == 5 and not shorter.whole


def test_stop_ends_the_pair_and_says_so(fake_engine):
    engine = fake_engine()
    stop = threading.Event()
    stop.set()
    last = scenes_of(engine, Visit("tiny"), stop=stop)[-1]
    assert last.over and last.pictures[0].finished == "stopped" and last.pictures[0].tokens == 0


def test_a_prompt_that_is_too_long_is_refused(fake_engine):
    with pytest.raises(RequestError, match="shorten it"):
        scenes_of(fake_engine(), Visit("tiny"), "word " * 400)


def test_pruning_shows_progress_and_ends_with_the_twin(fake_engine):
    engine = fake_engine()
    news = list(follow_pruning(engine, "tiny", Settings("magnitude", 0.5), threading.Event(), Words()))
    assert isinstance(news[-1], Twin)
    assert all(item is None or 'role="progressbar"' in item for item in news[:-1])


def test_cancelling_ends_pruning_between_two_steps_and_keeps_the_twin(fake_engine):
    engine = fake_engine(steps=1000)
    stop = threading.Event()
    done = []

    def step():
        done.append(1)
        if len(done) == 5:
            stop.set()

    engine.before_step = step
    with pytest.raises(Cancelled):
        list(follow_pruning(engine, "tiny", Settings("magnitude", 0.5), stop, Words()))
    assert len(done) == 5 and engine.twins() == []


def test_the_strip_shows_the_figures_or_an_invitation(fake_engine):
    engine = fake_engine()
    assert "press Prune" in strip_of(engine, first_visit(engine, Visit()), Words())
    twin = pruned(engine, 0.5)
    visit = first_visit(engine, Visit())
    assert visit == Visit("tiny", twin.key)
    shown = strip_of(engine, visit, Words())
    for part in ("10.0", "12.0", "1.20 times dense (1.10 to 1.30)", "−50.0 %", "unchanged", "Nothing is saved."):
        assert part in shown, part
    assert "省" in strip_of(engine, visit, Words("zh"))


def test_a_method_for_blocks_gets_no_pattern_and_no_solver(fake_engine):
    methods = fake_engine().methods()
    assert settings_of(methods, "block-influence", 30, "2:4", "refit") == Settings("block-influence", 0.3)
    assert settings_of(methods, "magnitude", 30, "2:4", "refit") == Settings("magnitude", 0.5, "2:4", "refit")
    assert settings_of(methods, "magnitude", 30, "2:4", "refit", "packed").layout == "packed"
    assert settings_of(methods, "block-influence", 30, "2:4", "refit", "packed").layout == "plain"
    with pytest.raises(RequestError, match="packed int8"):
        Settings(layout="zipped")


def test_stop_finds_a_run_from_the_moment_it_was_announced():
    runs = Runs()
    runs.announce("someone", "generate")
    runs.stop("someone", "generate")
    assert runs.event("someone", "generate").is_set()
    runs.announce("someone", "generate")
    newer = runs.event("someone", "generate")
    assert not newer.is_set()
    runs.stop("someone else", "generate")
    assert not newer.is_set()
    runs.finish("someone", "generate", newer)
    runs.stop("someone", "generate")
    assert not runs.event("someone", "generate").is_set()
