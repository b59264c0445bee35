"""The worker: one job at a time, news that coalesce, heartbeats, failures, and an end at any time."""

import threading

import pytest

from models.errors import EspalierError
from ui.background.worker import Mailbox, Worker


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.close()


def test_run_returns_the_result_even_if_it_is_none(worker):
    assert worker.run(lambda: 7) == 7
    assert worker.run(lambda: None) is None


def test_an_exception_reaches_the_caller_and_the_next_job_still_runs(worker):
    with pytest.raises(ZeroDivisionError):
        worker.run(lambda: 1 / 0)
    assert worker.run(lambda: "fine") == "fine"


def test_what_was_published_before_a_failure_is_still_seen(worker):
    def work(publish):
        publish("half")
        raise EspalierError("broken: mend it.")

    news = worker.follow(work, threading.Event())
    seen = []
    with pytest.raises(EspalierError, match="broken"):
        for value in news:
            seen.append(value)
    assert "half" in seen


def test_a_slow_reader_gets_the_newest_and_always_the_last():
    box = Mailbox()
    for value in range(10):
        box.put(value)
    assert box.take(0) == ([9], False)
    box.put("last")
    box.close()
    assert box.take(0) == (["last"], True)


def test_a_waiting_reader_gets_heartbeats(worker):
    go_on = threading.Event()
    news = worker.follow(lambda publish: (go_on.wait(), publish("done")), threading.Event(), heartbeat=0.01)
    assert next(news) is None
    go_on.set()
    assert [value for value in news if value is not None] == ["done"]


def test_a_reader_who_leaves_stops_the_work(worker):
    stop, ended = threading.Event(), threading.Event()

    def work(publish):
        publish("first")
        stop.wait()
        ended.set()

    news = worker.follow(work, stop)
    assert next(value for value in news if value) == "first"
    news.close()
    assert stop.is_set()
    assert ended.wait(10)


def test_jobs_never_overlap(worker):
    inside, most = [], []

    def work():
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    threads = [threading.Thread(target=worker.run, args=(work,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_close_stops_the_running_job_and_refuses_those_in_line():
    worker = Worker()
    started = threading.Event()
    stop = threading.Event()
    refusals = []

    def long_work(publish):
        started.set()
        stop.wait()

    def wait_in_line():
        try:
            worker.run(lambda: "too late")
        except EspalierError as error:
            refusals.append(str(error))

    first = threading.Thread(target=lambda: list(worker.follow(long_work, stop)))
    first.start()
    assert started.wait(10)
    second = threading.Thread(target=wait_in_line)
    second.start()
    while worker.waiting == 0:
        started.wait(0.001)
    worker.close()
    first.join(10)
    second.join(10)
    assert stop.is_set()
    assert refusals and "closing" in refusals[0]
