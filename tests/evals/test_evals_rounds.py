"""Taking turns, when there are enough rounds, and rounds that other programs disturbed."""

import pytest

from evals.cost import rounds
from evals.cost.cpu_share import CpuWatch, Ticks, parse_ticks, read_ticks
from evals.cost.rounds import Until, interleave
from evals.cost.timing import Run


def entrants(log, seconds=1.0, cpu=0.0):
    def entrant(name):
        def take(warmup):
            log.append((name, warmup))
            return Run([seconds / 2, seconds], 4, cpu_seconds=cpu)

        return name, take

    return [entrant("a"), entrant("b")]


class Watch:
    """A watch that tells set shares."""

    def __init__(self, *shares):
        self.shares, self.own = list(shares), []

    def start(self):
        pass

    def foreign_share(self, own_seconds):
        self.own.append(own_seconds)
        return self.shares.pop(0)


def test_turns_are_taken_and_the_warm_ups_kept_apart():
    log = []
    found = interleave(entrants(log), Until(runs=2, warmups=2))
    assert log == [("a", True), ("b", True)] * 2 + [("a", False), ("b", False)] * 2
    assert (len(found.warmups), len(found.kept), len(found.of(1))) == (2, 2, 2)


@pytest.mark.parametrize(
    ("until", "seconds", "expected"),
    [
        (Until(runs=3, seconds=1.0), 1.0, 3),  # the count decides
        (Until(runs=3, seconds=20.0), 1.0, 10),  # the duration does: two contenders of a second
        (Until(runs=3, seconds=1e9), 1.0, rounds.MOST_ROUNDS),
        (Until(runs=7), 0.01, 7),
    ],
)
def test_rounds_go_on_until_both_the_count_and_the_duration_are_reached(until, seconds, expected):
    assert len(interleave(entrants([], seconds), until).kept) == expected


def test_a_disturbed_round_is_measured_again():
    watch = Watch(0.1, 0.3, 0.2, 0.25)
    found = interleave(entrants([], cpu=0.5), Until(runs=3, retries=2), watch=watch)
    assert (len(found.kept), found.remeasured, found.disturbed) == (3, 1, 0)
    assert found.foreign == [0.1, 0.2, 0.25] and watch.own == [1.0] * 4
    assert found.as_protocol()["foreign_cpu_share"] == 0.2
    assert found.as_protocol()["rounds_measured_again"] == 1


def test_rounds_are_measured_again_only_so_often_and_then_counted():
    found = interleave(entrants([]), Until(runs=3, retries=2), watch=Watch(*[0.9] * 5))
    assert (len(found.kept), found.remeasured, found.disturbed) == (3, 2, 3)


def test_short_rounds_are_judged_together():
    watch = Watch(0.9, 0.1, 0.1)
    found = interleave(entrants([], seconds=1 / 32), Until(runs=6, retries=9), watch=watch)
    assert (len(found.kept), found.remeasured) == (6, 4)  # four rounds of two runs last a quarter of a second
    assert len(watch.own) == 3  # four again, four, and the last two


def test_where_nothing_is_known_nothing_is_repeated():
    found = interleave(entrants([]), Until(runs=2, retries=9), watch=Watch(None, None))
    assert (found.remeasured, found.disturbed, found.as_protocol()["foreign_cpu_share"]) == (0, 0, None)


def test_progress_never_goes_back_and_ends_at_one():
    seen = []
    watch = Watch(0.9, 0.1, 0.9, *[0.1] * 9)
    interleave(entrants([]), Until(runs=3, seconds=9, retries=2), lambda *now: seen.append(now), watch)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and (fractions[0], fractions[-1]) == (0, 1)
    assert seen[0][1] == "a, warm-up" and seen[2][1] == "a, run 1"


STAT = """cpu  9 9 9 9 9 9 9 9 9 9
cpu0 100 20 30 400 50 1 2 7 90 9
cpu1 200 0 0 800 0 0 0 0 0 0
cpu10 999 0 0 0 0 0 0 0 0 0
intr 5 4 3
""".splitlines()


def test_the_counters_of_the_usable_processors_are_added():
    ticks = parse_ticks(STAT, {0, 1}, second=100)
    assert ticks == Ticks(busy=3.6, total=16.1, processors=2)  # guest time is part of user time
    assert parse_ticks(STAT, {10}, 100) == Ticks(9.99, 9.99, 1)
    assert parse_ticks(STAT, {5}, 100) is None


@pytest.mark.parametrize(
    ("after", "own", "share"),
    [
        (Ticks(12.0, 24.0, 2), 1.0, 0.25),  # of four processor seconds two were busy, one of them our own
        (Ticks(11.0, 24.0, 2), 1.5, 0.0),  # ticks are coarse: never below nothing
        (Ticks(14.0, 24.0, 2), 0.0, 1.0),
        (Ticks(10.1, 20.15, 2), 0.0, None),  # too short to tell
        (None, 0.0, None),
    ],
)
def test_the_share_of_others(after, own, share):
    readings = iter([Ticks(10.0, 20.0, 2), after])
    watch = CpuWatch(lambda: next(readings))
    watch.start()
    assert watch.foreign_share(own) == (None if share is None else pytest.approx(share))


def test_a_watch_that_was_not_started_tells_nothing():
    assert CpuWatch(lambda: Ticks(1, 2, 1)).foreign_share(0) is None


def test_the_real_counters_grow():
    before = read_ticks()
    if before is None:
        pytest.skip("no /proc/stat here")
    sum(range(3_000_000))
    after = read_ticks()
    assert 0 < before.busy < before.total and before.processors >= 1
    assert after.busy >= before.busy and after.total >= before.total
