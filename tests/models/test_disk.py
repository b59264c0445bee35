"""What the disk refuses is one line with the right remedy, whatever library wrote, and nothing unnamed is left."""

import errno
import os
import sqlite3
import subprocess

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from models.console.command import finish
from models.errors import Cancelled, RequestError
from models.storage import files
from models.storage.disk import FULL, WriteFailed, explain, explained, full
from models.storage.files import new_file, new_folder, write_json

BIG = torch.arange(1 << 18, dtype=torch.float32)  # 1 MiB


def fill_database(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE big (value BLOB)")
        database.execute("INSERT INTO big VALUES (?)", (bytes(BIG.nbytes),))


def save_array(path):
    with open(path, "wb") as file:
        np.save(file, BIG.numpy())


def save_tokenizer(path, tokenizer):
    path.with_name("filler").write_bytes(bytes(500 << 10))
    path.unlink()
    tokenizer.save_pretrained(path)


WRITERS = {
    "safetensors": lambda path, _: save_file({"a": BIG}, path),
    "torch.save": lambda path, _: torch.save({"a": BIG}, path),
    "numpy.tofile": lambda path, _: BIG.numpy().tofile(path),
    "numpy.save": lambda path, _: save_array(path),
    "SQLite": lambda path, _: fill_database(path),
    "plain": lambda path, _: path.write_bytes(bytes(BIG.nbytes)),
    "tokenizers": save_tokenizer,
}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of half a MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("no mounting here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)  # lazily: what failed may still hold its file


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("make", [new_file, new_folder])
def test_a_full_disk_is_told_whoever_writes(small_disk, tiny_tokenizer, writer, make):
    (small_disk / "other").write_bytes(bytes(1000))
    with pytest.raises(WriteFailed) as told, make(small_disk / "out") as temporary:
        if make is new_folder:
            temporary = temporary / "model"
            temporary.touch()
        WRITERS[writer](temporary, tiny_tokenizer)
    assert str(told.value) == f"Could not write {small_disk / 'out'}: No space left on device. {FULL}"
    assert told.value.exit_code == 1 and told.value.__cause__ is not None
    assert not [path for path in small_disk.iterdir() if path.name not in ("other", "filler")]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "ulimit -f"),
        (Exception("Disk quota exceeded (os error 122)"), "quota"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "permissions"),
        (sqlite3.OperationalError("database or disk is full"), "Free some space"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "Free some space"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "Free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "can only be read"),
    ],
)
def test_what_libraries_say_is_understood(tmp_path, error, says):
    with pytest.raises(WriteFailed, match=says), explained(tmp_path / "out"):
        raise error


def test_the_error_that_a_library_hid_is_found(tmp_path):
    try:
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")  # noqa: B904
    except RuntimeError as error:
        assert "quota" in explain(error, tmp_path / "out")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Some tensors share memory"),
        ValueError("no number"),
        Cancelled(),
        RequestError("wrong"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/somewhere/else"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        SafetensorError("Error while deserializing header: header too large"),
    ],
)
def test_errors_of_another_kind_pass(tmp_path, error):
    with pytest.raises(type(error)) as passed, new_folder(tmp_path / "out"):
        raise error
    assert passed.value is error and not list(tmp_path.iterdir())


def test_an_unrelated_error_that_was_handled_before_is_not_taken_for_the_reason(tmp_path):
    with pytest.raises(ValueError), new_file(tmp_path / "out"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise ValueError("about something else")  # noqa: B904


def test_a_file_within_a_folder_is_told_by_the_folder_s_name(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_sync", refuse)
    with pytest.raises(WriteFailed) as told, new_folder(tmp_path / "out") as folder:
        write_json(folder / "record.json", {})
    assert f"Could not write {tmp_path / 'out'}: No space" in str(told.value) and "tmp" not in str(told.value)[60:]


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_what_cannot_be_removed_is_named(tmp_path, monkeypatch, make):
    monkeypatch.setattr(files, "_discard", lambda temporary: False)
    with pytest.raises(WriteFailed) as told, make(tmp_path / "out"):
        raise OSError(errno.EIO, "Input/output error")
    (left,) = tmp_path.iterdir()
    assert str(told.value).endswith(f"remove {left}.") and "The disk fails" in str(told.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_an_output_that_goes_to_a_full_disk_is_one_line(run_cli):
    with open("/dev/full", "w") as output:
        done = subprocess.run(
            [os.sys.executable, "-m", "pruning", "methods"], stdout=output, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == f"error: Could not write the output: No space left on device. {FULL}\n"


def test_a_stray_error_of_a_full_disk_is_told_by_its_file(capsys):
    def run():
        raise OSError(errno.ENOSPC, "No space left on device", "/big/file")

    assert finish(run) == 1
    assert capsys.readouterr().err == f"error: Could not write /big/file: No space left on device. {FULL}\n"
    assert full(OSError(errno.ENOENT, "No such file or directory", "/gone")) is None
