"""Files that are whole or absent, progress, units, policy, and the exit codes of the command lines."""

import io
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import policy
from models.console.command import Parser, finish
from models.console.progress import format_seconds, part, terminal_bar
from models.console.units import format_bytes, format_count, format_percent
from models.errors import Cancelled, EspalierError, RequestError
from models.storage.files import new_file, new_folder, read_json, sha256, write_json


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"größe": [1, 2.5, None]})
    assert read_json(path) == {"größe": [1, 2.5, None]}
    assert os.listdir(path.parent) == ["file.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Cancelled])
def test_an_interrupted_file_keeps_the_old_one(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), new_file(path) as temporary:
        temporary.write_text("half")
        raise error()
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_an_interrupted_folder_leaves_nothing(tmp_path):
    with pytest.raises(Cancelled), new_folder(tmp_path / "out") as folder:
        (folder / "weights").write_bytes(b"half")
        raise Cancelled()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("taken", ["file", "full folder"])
def test_an_existing_folder_is_never_overwritten(tmp_path, taken):
    path = tmp_path / "out"
    if taken == "file":
        path.write_text("precious")
    else:
        path.mkdir()
        (path / "precious").write_text("")
    with pytest.raises(RequestError, match="exists already"), new_folder(path):
        pytest.fail("work began")


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("x")
    assert (tmp_path / "out" / "a").read_text() == "x"


def test_a_full_disk_is_explained(tmp_path):
    with pytest.raises(EspalierError, match="No space left on device. Free some space"), new_file(tmp_path / "f"):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_numbers_that_json_does_not_know_are_not_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "f.json", float("nan"))
    assert os.listdir(tmp_path) == []


def test_broken_json_is_named(tmp_path):
    (tmp_path / "f.json").write_text('{"half": ')
    with pytest.raises(RequestError, match="f.json is not valid JSON"):
        read_json(tmp_path / "f.json")


def test_sha256_is_the_known_one(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_part_of_the_progress_fills_its_share():
    seen = []
    progress = part(lambda fraction, message: seen.append((fraction, message)), 0.5, 0.75)
    progress(0, "a")
    progress(1, "b")
    assert seen == [(0.5, "a"), (0.75, "b")]


def test_the_bar_in_a_log_says_the_end_once():
    log = io.StringIO()
    bar = terminal_bar(log)
    for step in range(101):
        bar(step / 100, f"step {step}")
    assert log.getvalue().splitlines()[-1].endswith("100%  step 100")
    assert len(log.getvalue().splitlines()) == 2


def test_the_time_left_of_a_resumed_run_counts_from_where_it_resumed(monkeypatch):
    clock = iter([0.0, 20.0])
    monkeypatch.setattr("models.console.progress.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    bar = terminal_bar(log)
    bar(0.5, "resumed")
    bar(0.6, "going on")
    assert log.getvalue().splitlines()[-1].endswith("60%  going on, 1 min 20 s left")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (11_541_120, "11.0 MiB"),
        (3 << 30, "3.00 GiB"),
        (1 << 44, "16384 GiB"),
    ],
)
def test_bytes_are_shown_with_iec_names(value, shown):
    assert format_bytes(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(999, "999"), (5_770_496, "5.77 M"), (17_300_000, "17.3 M"), (1.24e9, "1.24 B")]
)
def test_counts(value, shown):
    assert format_count(value) == shown


def test_percent_and_seconds():
    assert format_percent(0.5) == "50.0 %"
    assert [format_seconds(s) for s in (8, 200, 3900)] == ["8 s", "3 min 20 s", "1 h 05 min"]


@given(st.integers(0, 1 << 45))
def test_shown_bytes_are_near_the_truth(value):
    number, unit = format_bytes(value).split()
    shown = float(number) * {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
    assert abs(shown - value) <= 0.006 * value + 0.5


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (RequestError("Give a folder."), 2, "error: Give a folder.\n"),
        (EspalierError("It failed:\n twice."), 1, "error: It failed: twice.\n"),
        (Cancelled(), 1, "error: Cancelled; nothing was changed.\n"),
        (MemoryError(), 1, "error: Out of memory"),
        (ZeroDivisionError("x"), 1, "error: ZeroDivisionError: x (run again with --debug for the traceback)\n"),
        (KeyboardInterrupt(), 1, "error: Interrupted"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(capsys, error, code, said):
    def run():
        if error:
            raise error

    assert finish(run) == code
    err = capsys.readouterr().err
    assert err.startswith(said) and err.count("\n") == (1 if error else 0)


def test_debug_shows_the_traceback(capsys):
    assert finish(lambda: 1 // 0, debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_option_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as caught:
        Parser(prog="python -m it").parse_args(["--bogus"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "python -m it: unrecognized arguments: --bogus (see python -m it --help)\n"


@pytest.mark.parametrize(("bf16", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_cpu_gets_bf16_only_where_it_is_fast(monkeypatch, bf16, expected):
    monkeypatch.setattr(policy, "_cpu_multiplies_bfloat16", lambda: bf16)
    assert policy.choose_dtype(torch.device("cpu")) == expected
    assert policy.choose_dtype(torch.device("cpu"), "float16") == torch.float16


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float16)]
)
def test_a_cuda_card_gets_what_it_multiplies(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert policy.choose_dtype(torch.device("cuda")) == expected
