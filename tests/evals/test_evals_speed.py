"""Speed formulas and the order of a race, on a model-free generation whose clock is set."""

from threading import Event

import pytest

from evals import speed
from evals.speed import Run, race
from models.errors import Cancelled, RequestError

PROMPT = "The gardener ties the young branches to the wall and cuts what grows away from it."


class FakeGeneration:
    """A generation whose first token takes `ttft` seconds and every other `tpot`, slower with every run."""

    log: list[str] = []

    def __init__(self, model, tokenizer, prompt, sampling):
        assert sampling.ignore_end and sampling.temperature == 0
        self.name, (self.ttft, self.tpot) = model.name, next(model.times)
        self.limit, self.ids, self.token_times, self.finished = sampling.max_new_tokens, [], [], None
        self.log.append(self.name)

    def step(self):
        self.token_times.append(self.ttft + self.tpot * len(self.ids))
        self.ids.append(7)
        self.finished = "length" if len(self.ids) == self.limit else None

    def close(self):
        self.log.append(f"{self.name} closed")


@pytest.fixture
def fake(tiny_model, monkeypatch):
    """A factory of contenders with set times (ttft, tpot) for the warm-up and each run."""
    monkeypatch.setattr(speed, "Generation", FakeGeneration)
    monkeypatch.setattr(FakeGeneration, "log", [])

    def make(name, *times):
        model = tiny_model()
        model.name, model.times = name, iter(times)
        return model

    return make


def test_the_formulas():
    run = Run(ttft=0.5, seconds=2.5, prompt_tokens=100, new_tokens=21)
    assert run.tpot == pytest.approx(0.1)
    assert run.prefill_rate == pytest.approx(200)
    assert run.decode_rate == pytest.approx(10)


def test_a_race_takes_turns_keeps_the_warm_up_apart_and_finds_the_medians(fake, tiny_tokenizer):
    slow = fake("slow", (9, 9), (0.2, 0.04), (0.3, 0.05), (0.4, 0.06))
    fast = fake("fast", (8, 8), (0.1, 0.02), (0.15, 0.025), (0.2, 0.03))
    result = race([("slow", slow, tiny_tokenizer), ("fast", fast, tiny_tokenizer)], PROMPT, new_tokens=11, repeats=3)
    assert [entry for entry in FakeGeneration.log if "closed" not in entry] == ["slow", "fast"] * 4
    lane = result.lane("fast")
    tokens = len(tiny_tokenizer(PROMPT)["input_ids"])
    assert lane.ttft.value == pytest.approx(0.15) and lane.tpot.value == pytest.approx(0.025)
    assert lane.prefill_rate.value == pytest.approx(tokens / 0.15) and lane.decode_rate.value == pytest.approx(40)
    assert lane.warmup.ttft == 8 and len(lane.runs) == 3
    assert lane.ttft.interval == pytest.approx((0.1, 0.2)) and lane.ttft.n == 3
    for speedup in lane.speedups.values():  # every round is exactly twice as fast
        assert speedup.value == pytest.approx(2)
        assert speedup.interval == pytest.approx((2, 2))
    assert result.lanes[0].speedups == {}
    protocol = lane.tpot.protocol
    assert (protocol["prompt_tokens"], protocol["new_tokens"], protocol["repeats"]) == (tokens, 11, 3)
    assert protocol["batch"] == 1 and protocol["dtype"] == "float32" and protocol["threads"] >= 1
    assert result.as_dict()["fast"]["decode_speedup"]["value"] == pytest.approx(2)


def test_one_contender_may_race_alone_and_one_run_shows_no_spread(fake, tiny_tokenizer):
    result = race([("only", fake("only", (1, 1), (0.2, 0.04)), tiny_tokenizer)], PROMPT, new_tokens=2, repeats=1)
    assert result.lanes[0].tpot.value == pytest.approx(0.04)
    assert result.lanes[0].tpot.interval is None


@pytest.mark.parametrize("stop_after", [0, 1, 30])
def test_stop_ends_the_race_between_two_steps_and_closes_the_generation(fake, tiny_tokenizer, stop_after):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > stop_after

    model = fake("a", *[(0.1, 0.01)] * 6)
    with pytest.raises(Cancelled):
        race([("a", model, tiny_tokenizer)], PROMPT, new_tokens=16, repeats=5, stop=stop)
    assert len(asked) == stop_after + 1
    assert FakeGeneration.log[-1] == "a closed"


def test_stop_may_be_an_event(fake, tiny_tokenizer):
    event = Event()
    event.set()
    with pytest.raises(Cancelled):
        race([("a", fake("a", (0.1, 0.01)), tiny_tokenizer)], PROMPT, stop=event)


def test_progress_runs_to_the_end(fake, tiny_tokenizer):
    seen = []
    models = [(name, fake(name, *[(0.1, 0.01)] * 3), tiny_tokenizer) for name in "ab"]
    race(models, PROMPT, new_tokens=4, repeats=2, progress=lambda fraction, message: seen.append((fraction, message)))
    assert [fraction for fraction, _ in seen] == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert seen[0][1] == "a, warm-up" and seen[3][1] == "b, run 1 of 2"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (dict(new_tokens=1), "at least 2 new tokens"),
        (dict(repeats=0), "1 repeat"),
        (dict(new_tokens=127), "do not fit the context of a"),
        (dict(prompt_tokens=1000), "give a longer one"),
    ],
)
def test_impossible_lengths_are_refused_before_anything_runs(fake, tiny_tokenizer, options, line):
    with pytest.raises(RequestError, match=line):
        race([("a", fake("a"), tiny_tokenizer)], PROMPT, **options)
    assert FakeGeneration.log == []


def test_names_must_differ(fake, tiny_tokenizer):
    with pytest.raises(RequestError, match="name of its own"):
        race([("a", fake("a"), tiny_tokenizer)] * 2, PROMPT)


def test_a_real_race_writes_the_tokens_asked_for(tiny_model, tiny_tokenizer):
    contenders = [(family, tiny_model(family), tiny_tokenizer) for family in ("llama", "gpt2")]
    result = race(contenders, PROMPT, new_tokens=8, repeats=2, prompt_tokens=10)
    for lane in result.lanes:
        assert all((run.new_tokens, run.prompt_tokens) == (8, 10) for run in lane.runs)
        assert all(0 < run.ttft < run.seconds for run in lane.runs)
