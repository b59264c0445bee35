"""Two writers share the machine by time: shares, first tokens, pace of pictures, stop, failures."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.background.streaming import Pacer, Picture, write_together


class Clock:
    """A clock that only moves when a writer works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeWriter:
    """Writes one letter a step, each step taking `seconds_a_step` of the clock."""

    def __init__(self, clock: Clock, seconds_a_step: float, length: int, fails_at: int | None = None):
        self.clock, self.cost, self.length, self.fails_at = clock, seconds_a_step, length, fails_at
        self.ids: list[int] = []
        self.text = ""
        self.finished = None
        self.seconds = 0.0
        self.token_times: list[float] = []
        self.closed = False

    def step(self) -> None:
        self.clock.now += self.cost
        self.seconds += self.cost
        if len(self.ids) == self.fails_at:
            raise RuntimeError("the model broke")
        self.ids.append(len(self.ids))
        self.text += "x"
        self.token_times.append(self.seconds)
        if len(self.ids) == self.length:
            self.finished = "length"

    def close(self) -> None:
        self.finished = self.finished or "stopped"
        self.closed = True


def run(*writers, stop=None, interval=1 / 16):
    clock = writers[0].clock
    seen = []
    write_together(
        writers, lambda pictures: seen.append((clock.now, pictures)), stop or threading.Event(), Pacer(interval, clock)
    )
    return seen


def test_a_slow_side_does_not_drag_the_fast_one():
    clock = Clock()
    fast, slow = FakeWriter(clock, 0.01, 1000), FakeWriter(clock, 0.04, 1000)
    counts = {}
    for now, pictures in run(fast, slow):
        if now <= 4:
            counts = {"fast": pictures[0].tokens, "slow": pictures[1].tokens}
    # In 4 s each has 2 s of its own: 200 tokens against 50, one slice more or less.
    assert abs(counts["fast"] - 200) <= 6
    assert abs(counts["slow"] - 50) <= 3


@given(st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_shares_of_time_stay_within_a_slice_and_a_step(first, second):
    clock = Clock()
    writers = [FakeWriter(clock, first, 10_000), FakeWriter(clock, second, 10_000)]
    stop = threading.Event()
    worst = 0.0

    def watch(pictures):
        nonlocal worst
        worst = max(worst, abs(writers[0].seconds - writers[1].seconds))
        if clock.now > 5:
            stop.set()

    write_together(writers, watch, stop, Pacer(0.0, clock))
    assert worst <= 0.05 + max(first, second) + 1e-6


def test_the_other_side_gets_all_the_time_once_one_has_ended():
    clock = Clock()
    short, long = FakeWriter(clock, 0.01, 3), FakeWriter(clock, 0.01, 100)
    last = run(short, long)[-1][1]
    assert [picture.tokens for picture in last] == [3, 100]
    assert clock.now == pytest.approx(1.03)


def test_each_side_is_charged_its_own_time():
    clock = Clock()
    last = run(FakeWriter(clock, 0.01, 50), FakeWriter(clock, 0.05, 50))[-1][1]
    assert [picture.first for picture in last] == pytest.approx([0.01, 0.05])
    assert [picture.rate for picture in last] == pytest.approx([100, 20])


def test_pictures_come_at_once_for_first_tokens_and_ends_and_else_at_a_steady_pace():
    clock = Clock()
    seen = run(FakeWriter(clock, 0.001, 2000), FakeWriter(clock, 0.001, 2000))
    assert len(seen) <= 4 * 18 + 6  # four seconds of work, two first tokens, two ends, the last picture
    assert len(seen) >= 4 * 15
    first_shown = [next(now for now, pictures in seen if pictures[side].tokens) for side in (0, 1)]
    assert first_shown == pytest.approx([0.001, 0.051], abs=0.002)  # the second one's turn begins after a slice
    assert all(picture.finished == "length" for picture in seen[-1][1])


def test_stop_ends_both_after_the_step_that_runs():
    clock = Clock()
    writers = [FakeWriter(clock, 0.01, 1000), FakeWriter(clock, 0.01, 1000)]
    stop = threading.Event()
    seen = []

    def publish(pictures):
        seen.append(pictures)
        if sum(picture.tokens for picture in pictures) >= 20:
            stop.set()

    write_together(writers, publish, stop, Pacer(0.0, clock))
    assert sum(len(writer.ids) for writer in writers) == 20
    assert [picture.finished for picture in seen[-1]] == ["stopped", "stopped"]
    assert all(writer.closed for writer in writers)


def test_a_side_that_fails_says_so_and_the_other_goes_on():
    clock = Clock()
    last = run(FakeWriter(clock, 0.01, 10, fails_at=4), FakeWriter(clock, 0.01, 10))[-1][1]
    assert last[0].error == "the model broke" and last[0].tokens == 4
    assert last[1].error == "" and last[1].tokens == 10


def test_when_all_sides_fail_the_exception_is_raised_and_all_are_closed():
    clock = Clock()
    writers = [FakeWriter(clock, 0.01, 10, fails_at=0), FakeWriter(clock, 0.01, 10, fails_at=2)]
    with pytest.raises(RuntimeError, match="the model broke"):
        run(*writers)
    assert all(writer.closed for writer in writers)


def test_a_lone_token_has_no_rate():
    clock = Clock()
    writer = FakeWriter(clock, 0.01, 5)
    assert Picture.of(writer).first is None
    writer.step()
    assert Picture.of(writer).first == 0.01 and Picture.of(writer).rate is None
