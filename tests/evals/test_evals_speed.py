"""The order and the figures of a race in one process, on models whose forward passes set the clock."""

from threading import Event

import pytest
import torch

from evals.cost import timing
from evals.cost.latency import vllm_names
from evals.cost.speed import DEFINITIONS, FIGURES, make_lane, percentiles, race
from evals.cost.timing import Run
from models.errors import Cancelled, RequestError
from models.forward.state import open_state

PROMPT = "The gardener ties the young branches to the wall and cuts what grows away from it."


@pytest.fixture
def fake(tiny_model, monkeypatch):
    """A factory of contenders with set times (ttft, tpot) for the warm-up and each run; `fake.log` has who ran."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def make(name, *times):
        model, times, place = tiny_model(), iter(times), {}
        open_state(model)  # finds out how the model carries its state, by forward passes of its own

        def forward(input_ids, use_cache, logits_to_keep=0, **state):
            (cache,) = state.values()  # under whatever name this release has for it
            if cache is not place.get("cache"):  # the first forward pass of a run
                place.update(cache=cache, times=next(times))
                make.log.append(name)
            now[0] += place["times"][0 if input_ids.shape[1] > 1 else 1]
            return type("Output", (), {"logits": torch.ones(len(input_ids), 1, 320)})

        model.forward = forward
        return model

    make.log = []
    return make


def test_a_race_takes_turns_keeps_the_warm_up_apart_and_finds_the_medians(fake, tiny_tokenizer):
    slow = fake("slow", (9, 9), (0.2, 0.04), (0.3, 0.05), (0.4, 0.06))
    fast = fake("fast", (8, 8), (0.1, 0.02), (0.15, 0.025), (0.2, 0.03))
    result = race([("slow", slow, tiny_tokenizer), ("fast", fast, tiny_tokenizer)], PROMPT, new_tokens=11, repeats=3)
    assert fake.log == ["slow", "fast"] * 4
    lane = result.lane("fast")
    tokens = len(tiny_tokenizer(PROMPT)["input_ids"])
    assert lane.ttft.value == pytest.approx(0.15) and lane.tpot.value == pytest.approx(0.025)
    assert lane.prefill_rate.value == pytest.approx(tokens / 0.15) and lane.decode_rate.value == pytest.approx(40)
    assert lane.output_rate.value == pytest.approx(11 / (0.15 + 10 * 0.025))
    assert lane.warmup.ttft == pytest.approx(8) and len(lane.runs) == 3
    assert lane.ttft.interval == pytest.approx((0.1, 0.2)) and lane.ttft.n == 3
    for speedup in lane.speedups.values():  # every round is exactly twice as fast
        assert speedup.value == pytest.approx(2)
        assert speedup.interval is None  # rounds that are all alike show no spread
    assert result.lanes[0].speedups == {}
    protocol = lane.tpot.protocol
    assert (protocol["prompt_tokens"], protocol["new_tokens"], protocol["repeats"]) == (tokens, 11, 3)
    assert protocol["batch"] == 1 and protocol["dtype"] == "float32" and protocol["threads"] >= 1
    assert protocol["clock"] == "perf_counter" and protocol["definition"] == DEFINITIONS["tpot"]
    assert result.as_dict()["fast"]["decode_speedup"]["value"] == pytest.approx(2)


def test_one_contender_may_race_alone_and_one_run_shows_no_spread(fake, tiny_tokenizer):
    result = race([("only", fake("only", (1, 1), (0.2, 0.04)), tiny_tokenizer)], PROMPT, new_tokens=2, repeats=1)
    assert result.lanes[0].tpot.value == pytest.approx(0.04)
    assert result.lanes[0].tpot.interval is None


@pytest.mark.parametrize("stop_after", [0, 1, 30])
def test_stop_ends_the_race_between_two_steps(fake, tiny_tokenizer, stop_after):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > stop_after

    model = fake("a", *[(0.1, 0.01)] * 6)
    with pytest.raises(Cancelled):
        race([("a", model, tiny_tokenizer)], PROMPT, new_tokens=16, repeats=5, stop=stop)
    assert len(asked) == stop_after + 1


def test_stop_may_be_an_event(fake, tiny_tokenizer):
    event = Event()
    event.set()
    with pytest.raises(Cancelled):
        race([("a", fake("a", (0.1, 0.01)), tiny_tokenizer)], PROMPT, stop=event)
    assert fake.log == []


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
    assert fake.log == []


def test_names_must_differ(fake, tiny_tokenizer):
    with pytest.raises(RequestError, match="name of its own"):
        race([("a", fake("a"), tiny_tokenizer)] * 2, PROMPT)


def test_a_real_race_writes_the_tokens_asked_for(tiny_model, tiny_tokenizer):
    contenders = [(family, tiny_model(family), tiny_tokenizer) for family in ("llama", "gpt2")]
    result = race(contenders, PROMPT, new_tokens=8, repeats=2, prompt_tokens=10)
    for lane in result.lanes:
        assert all((run.new_tokens, run.prompt_tokens) == (8, 10) for run in lane.runs)
        assert all(0 < run.ttft < run.seconds for run in lane.runs)


def test_percentiles_are_told_only_where_enough_values_show_them():
    def told(runs, tokens):
        times = [Run([0.1 + 0.01 * at for at in range(tokens)], 4)] * runs
        return {measurement.metric for measurement in percentiles(times, {"name": "x"})}

    assert told(5, 2) == {"itl_p50"}
    assert told(5, 11) == {"itl_p50", "itl_p90"}
    assert told(10, 11) == {"ttft_p90", "itl_p50", "itl_p90", "itl_p99"}
    assert told(100, 2) == {"ttft_p90", "ttft_p99", "itl_p50", "itl_p90", "itl_p99"}


def test_every_figure_is_defined_where_it_is_told():
    runs = [Run([0.1, 0.2, 0.4], 4)] * 10
    first = make_lane("a", runs, runs[0], {"name": "x"})
    lane = make_lane("b", runs, runs[0], {"name": "x"}, first)
    told = [*lane.measurements, *lane.speedups.values(), *percentiles(runs, {"name": "x"})]
    assert {measurement.metric for measurement in lane.measurements} == set(FIGURES)
    assert all(measurement.protocol["definition"] in DEFINITIONS.values() for measurement in told)
    assert vllm_names(runs)["median_ttft_ms"] == pytest.approx(1000 * lane.ttft.value)
