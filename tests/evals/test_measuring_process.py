"""The process that measures one model: its commands, its errors as one line, and its end."""

import json
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from evals.cost import measuring_process, process_race
from evals.cost.measuring_process import Heartbeat, MeasuringProcess
from evals.cost.process_race import Setting, load_seconds, pairs, time_setting
from evals.cost.rounds import Until
from evals.cost.runner import Runner
from evals.cost.timing import RanOutOfMemory
from models.errors import Cancelled, EspalierError, RequestError


@pytest.fixture(scope="module")
def folder(tiny_folder):
    return str(tiny_folder())


@pytest.fixture(scope="module")
def process(folder):
    """A process with a tiny model loaded, for tests that leave it alive."""
    with MeasuringProcess(folder, "cpu", "float32") as started:
        started.load()
        yield started


def test_it_tells_what_it_loaded_and_how_long_that_took(process):
    facts = process.facts
    assert (facts["device"], facts["dtype"], facts["context"]) == ("cpu", "float32", 128)
    assert facts["clock"] == "perf_counter"
    assert facts["seconds"] > 0 and facts["threads"] == measuring_process.threads()


def test_it_times_a_generation_of_the_size_asked_for(process):
    run = process.time(batch=3, prompt_tokens=20, new_tokens=4, count_cache=True)
    assert (run.batch, run.prompt_tokens, run.new_tokens) == (3, 20, 4)
    assert 0 < run.ttft < run.seconds and (run.gaps > 0).all() and run.cpu_seconds > 0
    assert run.cache_bytes == 3 * 23 * 3 * 2 * 2 * 8 * 4
    assert process.time(1, 20, 4).cache_bytes is None


def test_its_marks_cache_weights_and_clocks_are_told(process, tiny_model):
    marks = process.ask("marks")
    assert marks["resident"] >= process.facts["libraries"] > 0 and marks["cuda_allocated"] is None
    assert marks["resident"] >= marks["uss"] > 0
    assert process.ask("kv_cache")["bytes_per_token"] == 2 * 3 * 2 * 8 * 4
    assert process.ask("sparse")["bitmask"] > 0
    assert isinstance(process.ask("clocks"), dict)


def test_a_failed_command_is_one_line_and_the_process_goes_on(process):
    with pytest.raises(EspalierError, match="could not be measured: TypeError") as failure:
        process.ask("time", batch="two", prompt_tokens=2, new_tokens=2)
    assert "\n" not in str(failure.value)
    with pytest.raises(EspalierError, match="AttributeError"):
        process.ask("sing")
    assert process.time(1, 4, 2).new_tokens == 2


def test_a_process_that_fails_by_itself_leaves_its_last_words(folder, monkeypatch):
    monkeypatch.setattr(measuring_process.sys, "executable", "/bin/sh")  # which has no module to run
    with MeasuringProcess(folder, "cpu") as started, pytest.raises(EspalierError, match=r"ended with code \d+ \("):
        started.load()


def test_a_callback_that_raises_ends_the_wait_and_the_process(folder):
    def cancel():
        raise Cancelled

    with MeasuringProcess(folder, "cpu", waiting=cancel) as started:
        pid = started.pid
        with pytest.raises(Cancelled):
            started.load()
    assert not psutil.pid_exists(pid)


def test_a_heartbeat_repeats_the_last_report():
    seen = []
    beat = Heartbeat(lambda *now: seen.append(now))
    beat(0.5, "half")
    beat.again()
    assert seen == [(0.5, "half")] * 2


def test_it_ends_with_its_parent_in_the_middle_of_a_command(folder):
    # The parent tells the child's number, gives it hours of work, and is killed.
    script = (
        "import sys, threading\n"
        "from evals.cost.measuring_process import MeasuringProcess\n"
        "process = MeasuringProcess(sys.argv[1], 'cpu')\n"
        "process.load()\n"
        "threading.Thread(target=process.time, args=(64, 120, 10**9), daemon=True).start()\n"
        "print(process.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    words, root = [sys.executable, "-c", script, folder], measuring_process.ROOT
    parent = subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(600):  # where nobody reaps it, it stays as a zombie
        if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
            break
        threading.Event().wait(0.05)
    else:
        child.kill()
        pytest.fail("The process outlived its parent.")


def test_a_runner_tells_apart_who_is_at_fault(tmp_path, monkeypatch):
    runner = Runner(str(tmp_path / "absent"), "cpu", "float32")
    reply = runner.answer({"command": "load", "threads": 1})
    assert reply["exit_code"] == 2 and not reply["out_of_memory"]

    def fail(error):
        def command():
            raise error

        monkeypatch.setattr(runner, "marks", command)
        return runner.answer({"command": "marks"})

    assert fail(RanOutOfMemory("too large"))["out_of_memory"]
    assert fail(MemoryError())["error"].startswith("Out of memory: ")
    reply = fail(ValueError("line one\nline two"))
    assert (reply["error"], reply["exit_code"]) == ("ValueError: line one", 1)
    assert json.loads(json.dumps(reply)) == reply


def test_noise_of_a_library_does_no_harm_and_a_kill_is_told_and_told_again(folder, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import json, sys\n"
        "dumps = json.dumps\n"
        "def loud(*words, **more):\n"
        "    print('noise', flush=True)\n"
        "    return dumps(*words, **more)\n"
        "if 'evals.cost.runner' in sys.orig_argv:\n"
        "    json.dumps = loud\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with MeasuringProcess(folder, "cpu") as started:
        assert started.load()["context"] == 128
        os.kill(started.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(EspalierError, match="was killed, most often for lack of memory"):
                started.ask("marks")


@pytest.mark.parametrize(
    ("code", "lacking", "kind"), [(1, True, RanOutOfMemory), (2, False, RequestError), (1, False, EspalierError)]
)
def test_whose_fault_it_was_reaches_the_parent(process, monkeypatch, code, lacking, kind):
    reply = json.dumps({"error": "no room", "exit_code": code, "out_of_memory": lacking})
    monkeypatch.setattr(process, "_next_line", lambda: reply)
    with pytest.raises(EspalierError, match="could not be measured: no room") as failure:
        process.ask("marks")
    assert type(failure.value) is kind
    monkeypatch.undo()
    process._reply()  # what was really answered


def test_a_setting_is_timed_in_turns(process):
    order = []
    rounds = time_setting(
        [process] * 2, Setting(2, 6, 3), Until(runs=2), lambda _, text: order.append(text), count_cache=True
    )
    assert [[run.batch for run in turn] for turn in rounds.kept] == [[2, 2]] * 2
    assert rounds.kept[0][0].cache_bytes is None and rounds.warmups[0][0].cache_bytes > 0
    steps = [text.split(", ")[-1] for text in order[:-1]]
    assert steps == ["warm-up"] * 2 + ["run 1 of 2"] * 2 + ["run 2 of 2"] * 2


class FakeProcess:
    """A process that only keeps a diary."""

    diary: list[str] = []

    def __init__(self, model, device, dtype, waiting):
        self.model, self.facts = model, {}

    def __enter__(self):
        return self

    def wait_until_ready(self):
        self.diary.append(f"{self.model} is ready")

    def __exit__(self, *error):
        self.diary.append(f"{self.model} ends")

    def load(self):
        self.diary.append(f"{self.model} loads")
        self.facts = {"seconds": 0.5}
        return self.facts


def test_the_baseline_stays_while_the_others_come_and_go(monkeypatch):
    monkeypatch.setattr(process_race, "MeasuringProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "diary", diary := [])
    racing = [[process.model for process in pair] for pair in pairs(["a", "b", "c"], "cpu", "auto")]
    assert racing == [["a", "b"], ["a", "c"]]
    assert diary == [
        "b is ready", "a loads", "b loads", "b ends", "c is ready", "c loads", "c ends", "a ends",
    ]  # fmt: skip
    assert [len(pair) for pair in pairs(["a"], "cpu", "auto")] == [1]


def test_a_load_is_timed_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(process_race, "MeasuringProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "diary", diary := [])
    assert load_seconds("a", "cpu", "auto") == 0.5 and diary == ["a loads", "a ends"]


def test_a_setting_names_what_is_not_the_default():
    default = Setting()
    assert (default.batch, default.suffix(default)) == (1, "")
    assert Setting(8).suffix(default) == "[batch=8,prompt=128]"
