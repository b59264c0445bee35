"""The live twins behind the slider: one copy of a model, whose masks are always those of the twin that is asked for."""

import threading

import pytest
import torch

from models import Loaded
from models.console.progress import silent
from models.description import describe
from models.errors import Cancelled
from pruning.anatomy.roles import find_anatomy
from ui.background.live_twins import LiveTwins
from ui.background.worker import Worker
from ui.engine import Settings
from ui.figures import Figures
from ui.tabs.live import follow_preview
from ui.texts import Words

SIZES = dict(samples=2, sequence_length=32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path))


@pytest.fixture
def loaded(tiny_model, tiny_tokenizer):
    network = tiny_model()
    return Loaded(network, tiny_tokenizer, describe(network, "tiny", "r1"))


@pytest.fixture
def live():
    return LiveTwins(Figures(), lambda dense: SIZES)


def zeros(twin) -> int:
    return sum(int((entry.weight == 0).sum()) for entry in find_anatomy(twin.loaded.model).projections)


def test_the_masks_are_those_of_the_twin_that_was_asked_for_last(live, loaded):
    mild = live.make("tiny", loaded, Settings("wanda", 0.25), silent)
    few = zeros(mild)
    hard = live.make("tiny", loaded, Settings("magnitude", 0.75), silent)
    many = zeros(hard)
    assert few < many and mild.loaded is hard.loaded  # one copy serves both
    assert zeros(live.get(mild.key)) == few
    assert zeros(live.get(hard.key)) == many
    assert live.get("live of nobody") is None


def test_the_figures_count_what_went_and_measure_the_perplexity_once(live, loaded, monkeypatch):
    twin = live.make("tiny", loaded, Settings("wanda", 0.5), silent)
    all_parameters = sum(int(parameter.count_nonzero()) for parameter in twin.loaded.model.parameters())
    assert twin.change.nonzero[1] == all_parameters < twin.change.nonzero[0]
    assert twin.change.perplexity is None and twin.live and twin.settings.layout == "plain"
    measured = live.measured(twin)
    dense, pruned = measured.change.perplexity
    assert dense.value != pruned.value
    monkeypatch.setattr(Figures, "perplexity", None)  # a second measuring would break
    assert live.make("tiny", loaded, Settings("wanda", 0.5), silent).change.perplexity == (dense, pruned)


def test_another_model_of_the_name_has_a_copy_of_its_own(live, loaded, tiny_model):
    first = live.make("tiny", loaded, Settings("magnitude", 0.5), silent)
    other = tiny_model(seed=1)
    again = live.make("tiny", Loaded(other, loaded.tokenizer, describe(other, "tiny", "r2")), first.settings, silent)
    assert again.key != first.key and not torch.equal(*(twin.loaded.model.lm_head.weight for twin in (first, again)))
    assert live.get(first.key) is None  # its copy is gone
    live.drop_oldest()
    assert live.get(again.key) is None


@pytest.mark.parametrize(
    "settings, possible",
    [
        (Settings("magnitude"), True),
        (Settings("ria", pattern="2:4"), True),
        (Settings("wanda", layout="packed"), True),
        (Settings("obs"), False),
        (Settings("wanda", solver="refit"), False),
        (Settings("wanda", pattern="unstructured:global"), False),
        (Settings("block-influence"), False),
    ],
)
def test_what_can_be_previewed(live, settings, possible):
    assert live.possible(settings) is possible


class SlowEngine:
    """Previews at once, and measures until it is told to end."""

    def __init__(self, twin):
        self.worker, self.twin, self.measuring = Worker(), twin, threading.Event()

    def preview(self, model, settings, progress):
        return self.twin

    def measured(self, twin):
        from models.console.stopping import give_way

        self.measuring.set()
        while True:
            give_way()


def test_a_newer_position_ends_the_one_before_it_while_that_is_measured(live, loaded):
    engine = SlowEngine(live.make("tiny", loaded, Settings("magnitude"), silent))
    stop = threading.Event()
    news = follow_preview(engine, "tiny", Settings("magnitude"), stop, Words())
    assert next(item for item in news if item) is engine.twin
    assert engine.measuring.wait(30)
    stop.set()
    with pytest.raises((Cancelled, StopIteration)):
        while True:
            next(news)
    late = threading.Event()
    late.set()  # superseded while it stood in line: the worker is free again and does nothing for it
    assert [item for item in _until_cancelled(follow_preview(engine, "tiny", Settings(), late, Words()))] == []
    engine.worker.close()


def _until_cancelled(news):
    try:
        yield from news
    except Cancelled:
        return
