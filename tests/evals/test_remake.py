"""The command that makes the embedded model's figures again: what is due, what is kept, what a failure costs."""

import sys

import pytest

from benchmarks import remake
from benchmarks.remake import Step, main

SCRIPT = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "log", "a") as log:
    log.write(" ".join([pathlib.Path(__file__).stem, *sys.argv[1:]]) + "\\n")
if (here / "broken").exists() and pathlib.Path(__file__).stem == "second":
    sys.exit(1)
result = here / "results" / f"{pathlib.Path(__file__).stem}.json"
result.parent.mkdir(exist_ok=True)
result.write_text((here.parent / "model" / "weights").read_text())
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A folder with a model, two steps and a publishing script, each of which logs that it ran."""
    folder, model = tmp_path / "benchmarks", tmp_path / "model"
    folder.mkdir()
    model.mkdir()
    (model / "weights").write_text("{}")
    (tmp_path / "pins").write_text("torch==2.8.0\ntransformers==5.0.0\n")
    (model / "README.md").write_text("card")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "prose.txt").write_text("Once.")
    for name in ("first", "second", "publish"):
        (folder / f"{name}.py").write_text(SCRIPT)
    (folder / "helper.txt").write_text("a")
    steps = (
        Step("first.py", "--source DATA", "first.json", 1, "helper.*"),
        Step("second.py", "--windows 3", "second.json", 2),
    )
    names = dict(
        FOLDER=folder, RESULTS=folder / "results", RECORD=folder / "results" / "remade.json",
        PUBLISH=folder / "publish.py", EMBEDDED=model, TEXTS=tmp_path / "texts", STEPS=steps, PINS=tmp_path / "pins",
    )  # fmt: skip
    for name, value in names.items():
        monkeypatch.setattr(remake, name, value)
    return tmp_path


def run(house, monkeypatch, *words) -> tuple[int, list[str]]:
    """The exit code, and which scripts ran."""
    log = house / "benchmarks" / "log"
    log.unlink(missing_ok=True)
    monkeypatch.setattr(sys, "argv", ["remake.py", *map(str, words)])
    code = main()
    return code, log.read_text().splitlines() if log.exists() else []


def test_all_is_made_in_order_and_a_second_run_only_publishes(house, monkeypatch):
    code, ran = run(house, monkeypatch, "--source", house)
    assert code == 0 and ran == [f"first --source {house.resolve()}", "second --windows 3", "publish"]
    assert run(house, monkeypatch, "--source", house) == (0, ["publish"])
    assert run(house, monkeypatch, "second", "--force") == (0, ["second --windows 3", "publish"])


@pytest.mark.parametrize(
    ("path", "due"),
    [
        ("model/weights", ["first", "second"]),
        ("texts/prose.txt", ["first", "second"]),
        ("benchmarks/first.py", ["first"]),
        ("benchmarks/helper.txt", ["first"]),
        ("benchmarks/results/second.json", ["second"]),
        ("model/README.md", []),
    ],
)
def test_a_step_is_due_when_something_it_depends_on_has_changed(house, monkeypatch, path, due):
    run(house, monkeypatch, "--source", house)
    (house / path).write_text((house / path).read_text() + "\n# changed")
    _, ran = run(house, monkeypatch, "--source", house)
    assert [line.split()[0] for line in ran] == [*due, "publish"]


def test_other_options_or_a_lost_result_make_a_step_due(house, monkeypatch):
    run(house, monkeypatch, "--source", house)
    (house / "benchmarks/results/first.json").unlink()
    monkeypatch.setattr(remake, "STEPS", (remake.STEPS[0], Step("second.py", "--windows 4", "second.json", 2)))
    _, ran = run(house, monkeypatch, "--source", house)
    assert ran[1:] == ["second --windows 4", "publish"] and ran[0].startswith("first")


def test_a_failed_step_stops_the_run_and_what_was_done_is_kept(house, monkeypatch, capsys):
    (house / "benchmarks" / "broken").touch()
    code, ran = run(house, monkeypatch, "--source", house)
    assert code == 1 and [line.split()[0] for line in ran] == ["first", "second"]
    assert "second.py ended with exit code 1" in capsys.readouterr().err
    (house / "benchmarks" / "broken").unlink()
    assert run(house, monkeypatch) == (0, ["second --windows 3", "publish"])


def test_a_model_that_changes_meanwhile_is_told_and_nothing_is_recorded(house, monkeypatch, capsys):
    changing = SCRIPT + 'open(here.parent / "model" / "weights", "a").write("x")\n'
    (house / "benchmarks" / "second.py").write_text(changing)
    code, _ = run(house, monkeypatch, "second")
    assert code == 1 and "changed while it ran" in capsys.readouterr().err
    assert not (house / "benchmarks/results/remade.json").exists()


def test_the_list_runs_nothing_and_tells_measured_times(house, monkeypatch, capsys):
    run(house, monkeypatch, "second")
    record = house / "benchmarks/results/remade.json"
    record.write_text(record.read_text().replace('"seconds": ', '"seconds": 200, "was": '))
    capsys.readouterr()
    assert run(house, monkeypatch, "--list") == (0, [])
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["due", "first"] and "1 min 00 s" in first
    assert second.split()[:2] == ["current", "second"] and "3 min 20 s" in second


def test_a_wrong_request_is_refused_before_anything_runs(house, monkeypatch, capsys):
    assert run(house, monkeypatch) == (2, [])
    assert run(house, monkeypatch, "third") == (2, [])
    error = capsys.readouterr().err
    assert "--source DATA is missing" in error and "no step third" in error


def test_every_real_step_has_its_script():
    assert all(path.is_file() for step in remake.STEPS for path in step.sources())
    assert len({step.name for step in remake.STEPS}) == len(remake.STEPS)


def test_help_does_not_wait_for_torch(run_cli):
    done = run_cli("benchmarks/remake.py", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0 and "usage:" in done.stdout and "| torch" not in done.stderr


def test_a_timed_step_is_due_when_the_releases_have_moved_and_a_step_of_quality_is_not(house, monkeypatch, capsys):
    told = '{"environment": {"libraries": {"torch": "2.8.0+cpu", "transformers": "5.0.0"}}}'
    (house / "model" / "weights").write_text(told)
    (house / "requirements.txt").write_text("torch==2.8.0\ntransformers==5.1.0\n")
    monkeypatch.setattr(remake, "PINS", house / "requirements.txt")
    run(house, monkeypatch, "--source", house)
    timed = tuple(
        Step(*(getattr(step, name) for name in ("script", "options", "result", "minutes", "parts")), timed=True)
        for step in remake.STEPS[1:]
    )
    monkeypatch.setattr(remake, "STEPS", (remake.STEPS[0], *timed))
    capsys.readouterr()
    assert run(house, monkeypatch, "--list") == (0, [])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("current") and second.startswith("due")
    assert first.endswith("(transformers 5.0.0 -> 5.1.0)") and second.endswith("(transformers 5.0.0 -> 5.1.0)")
    (house / "requirements.txt").write_text("torch==2.8.0\ntransformers==5.0.0\n")
    run(house, monkeypatch, "--list")
    assert capsys.readouterr().out.splitlines()[1].startswith("current")
