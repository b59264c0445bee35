"""Destinations tried before the work: what the disk would refuse at the end is refused now, and no trial leaves a trace."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from models.errors import RequestError
from models.storage import destination
from models.storage.destination import try_files, try_folder
from models.storage.files import new_file, new_folder


def tree(place: Path) -> dict:
    """All that is there, with what would show that it was touched."""
    return {
        path.relative_to(place).as_posix(): (os.lstat(path).st_mode, os.lstat(path).st_ino) for path in place.rglob("*")
    }


@pytest.fixture
def place(tmp_path):
    """A folder of all that a destination can meet."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    (tmp_path / "empty").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "link-to-full").symlink_to("full")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("about")
    (tmp_path / "about").symlink_to("round")
    return tmp_path


def fill(path: Path) -> None:
    with new_folder(path) as folder:
        (folder / "weights").write_text("w")


@pytest.mark.parametrize("name", ["new", "deep/er/new", "empty", "link", "dangling", "full/new", "link-to-full/new"])
def test_what_can_be_written_is_done_where_the_links_lead(place, name):
    before = tree(place)
    try_folder(place / name)
    assert tree(place) == before
    fill(place / name)
    assert (place / name / "weights").read_text() == "w"
    assert {other for other, (_, node) in tree(place).items() if before.get(other, (0, node))[1] != node} <= {"empty"}
    assert (place / "link").is_symlink() and (place / "dangling").is_symlink()
    assert (place / "nowhere").exists() == (name == "dangling")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("file", "exists already"),
        ("full", "exists already"),
        ("link-to-full", "exists already"),
        ("file/new", "is a file: choose another folder"),
        ("file/deep/new", "is a file: choose another folder"),
        ("round", "lead round in a circle"),
        ("round/new", "lead round in a circle"),
        ("n" * 240, "Choose a shorter name"),  # has room for itself, and none for what it is called meanwhile
        ("n" * 300, "Choose a shorter name"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_own_remedy(place, name, says):
    before = tree(place)
    with pytest.raises(RequestError, match=says) as refused:
        try_folder(place / name)
    assert refused.value.exit_code == 2 and "\n" not in str(refused.value)
    assert tree(place) == before


@pytest.mark.parametrize("name", [".", "", "../empty"])
def test_the_folder_that_we_are_in_is_not_replaced(place, monkeypatch, name):
    monkeypatch.chdir(place / "empty")
    before = tree(place)
    for use in (try_folder, fill):
        with pytest.raises(RequestError, match="choose a new folder inside it"):
            use(Path(name))
    assert tree(place) == before
    try_files(name)
    assert tree(place) == before


REFUSALS = [
    (errno.EBUSY, "choose a new folder inside it"),
    (errno.EPERM, "change the permissions of"),
    (errno.EACCES, "change the permissions of"),
    (errno.EROFS, "can only be read"),
    (errno.ENOSPC, "Free some space"),
    (errno.EDQUOT, "quota"),
    (errno.EINVAL, "takes no such name"),
    (errno.ENAMETOOLONG, "shorter name"),
    (errno.EIO, "The disk fails"),
    (errno.ENOLCK, "Choose another folder"),
]


@pytest.mark.parametrize(("number", "says"), REFUSALS)
@pytest.mark.parametrize("name", ["new", "empty"])
def test_the_last_rename_is_tried_for_itself(place, monkeypatch, number, says, name):
    before = tree(place)

    def refuse(source, target):
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    with monkeypatch.context() as patch:
        patch.setattr(destination.os, "rename", refuse)
        with pytest.raises(RequestError, match=says) as refused:
            try_folder(place / name)
    assert os.strerror(number) in str(refused.value) and ("space" in str(refused.value)) == (number == errno.ENOSPC)
    assert tree(place) == before


def test_a_folder_of_a_container_s_image_may_be_replaced_though_it_does_not_move(place, monkeypatch):
    rename = os.rename

    def overlay(source, target):
        if Path(source) == place / "empty":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(destination.os, "rename", overlay)
    mode = (place / "empty").stat().st_mode
    try_folder(place / "empty")
    assert (place / "empty").stat().st_mode == mode and not list((place / "empty").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_mount_point_is_refused_and_a_folder_inside_it_is_not(place):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place / "empty"], capture_output=True)
    if mounted.returncode:
        pytest.skip("no mounting in this container")
    try:
        with pytest.raises(RequestError, match="another disk is mounted there: choose a new folder inside it"):
            try_folder(place / "empty")
        try_folder(place / "empty" / "new")
        try_files(place / "empty")
        assert not list((place / "empty").iterdir())
    finally:
        subprocess.run(["umount", place / "empty"], check=True)


@pytest.mark.parametrize("name", ["new/er", "full", "link-to-full", "dangling"])
def test_files_can_be_tried_in_any_folder(place, name):
    before = tree(place)
    try_files(place / name, "precious", "results.json")
    assert tree(place) == before
    with new_file(place / name / "results.json") as file:
        file.write_text("r")
    assert (place / name / "results.json").read_text() == "r"
    assert (place / "full" / "precious").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("file", (), "is a file"),
        ("file/new", (), "is a file"),
        ("round", (), "round in a circle"),
        ("empty", ("n" * 240,), "shorter name"),
    ],
)
def test_files_that_cannot_be_written_are_refused(place, name, files, says):
    before = tree(place)
    with pytest.raises(RequestError, match=says):
        try_files(place / name, *files)
    assert tree(place) == before


def test_a_file_behind_a_link_is_written_and_the_link_stays(place):
    (place / "results").symlink_to("full/precious")
    with new_file(place / "results") as file:
        file.write_text("new")
    assert (place / "results").is_symlink() and (place / "full" / "precious").read_text() == "new"
