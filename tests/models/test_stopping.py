"""Work that is asked to stop: between two operations of torch, in loops that give way, and beside other threads."""

import threading

import pytest
import torch

from models.console.stopping import aside, give_way, interruptible, listening, stop_asked, was_cancelled
from models.errors import Cancelled, EspalierError


def test_work_without_listeners_runs_as_ever():
    with interruptible():
        assert float(torch.ones(3).sum()) == 3
    assert not stop_asked() and aside(lambda: 5) == 5
    give_way()


def test_a_loop_of_tensors_ends_at_the_first_operation_after_the_stop():
    stop, done = threading.Event(), []
    with pytest.raises(Cancelled), listening(stop.is_set), interruptible():
        value = torch.ones(2)
        for step in range(100):
            value = value + 1
            done.append(step)
            if step == 4:
                stop.set()
    assert done == [0, 1, 2, 3, 4]


def test_loops_without_tensors_end_where_they_give_way():
    with listening(lambda: True), pytest.raises(Cancelled):
        give_way()


def test_what_tidies_up_is_not_cut_off():
    kept = torch.zeros(2)
    with pytest.raises(Cancelled), listening(lambda: True), interruptible():
        try:
            torch.ones(2)
        finally:
            kept.add_(1)
    assert kept.tolist() == [1, 1]


def test_a_library_that_swallows_the_stop_meets_it_again():
    with pytest.raises(Cancelled), listening(lambda: True), interruptible():
        try:
            torch.ones(2)
        except Exception:
            pass
        torch.ones(2)


def test_who_listens_is_forgotten_afterwards():
    with listening(lambda: True):
        assert stop_asked()
    assert not stop_asked()
    with interruptible():
        torch.ones(1)


def test_work_aside_gives_its_result_or_its_error_and_can_be_left():
    with listening(lambda: False):
        assert aside(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            aside(lambda: 1 / 0)
    go_on = threading.Event()
    with listening(lambda: True), pytest.raises(Cancelled):
        aside(go_on.wait)
    go_on.set()


def test_an_error_made_of_a_stop_is_known_for_one():
    try:
        try:
            raise Cancelled
        except Cancelled as error:
            raise EspalierError("could not be loaded") from error
    except EspalierError as error:
        assert was_cancelled(error)
    assert not was_cancelled(EspalierError("could not be loaded")) and not was_cancelled(None)


def test_a_file_that_is_hashed_can_be_left(tmp_path):
    from models.storage.files import sha256

    (tmp_path / "file").write_bytes(b"weights")
    with listening(lambda: True), pytest.raises(Cancelled):
        sha256(tmp_path / "file")
