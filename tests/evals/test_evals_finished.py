"""Results are known again by all that they depend on, and a folder for results is tried before any measuring."""

import json
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evals import evaluate_models, registry
from evals.asking.cache import Cache, key
from evals.measurement import Measurement
from evals.reporting import harness_export
from evals.reporting.harness_export import LONGEST, sanitized
from evals.runs import run
from evals.runs.finished import Finished
from evals.runs.results import Result, read_results
from evals.sweeping import sweep_plan
from evals.sweeping.grid import Grid
from evals.sweeping.sweep_plan import Request, make_plan
from models.errors import EspalierError, RequestError
from models.storage.disk import WriteFailed
from models.storage.files import read_json, write_json
from tests.evals.stand_in import StandIn


@pytest.fixture(scope="module")
def model(tiny_folder):
    return tiny_folder("llama")


@pytest.fixture
def stand_in(tmp_path, model, study, monkeypatch):
    (tmp_path / "place").mkdir()
    return StandIn(
        tmp_path / "place", study(methods=("wanda",), dense="DENSE", groups=("perplexity",)), model, monkeypatch
    )


@pytest.fixture
def counting(monkeypatch):
    """A metric that counts how often it is measured."""
    calls = []

    def measure(trial):
        calls.append(1)
        return [Result(trial.pool.baseline, "memory", Measurement("bytes", 1.0, "B", protocol={}))]

    found = replace(registry.find("memory"), measure=measure)
    monkeypatch.setattr(registry, "find", lambda name: found)
    return calls


def begin(model, out, monkeypatch, **options):
    """A run whose results could not be written."""

    def refuse(*_):
        raise WriteFailed(out, "No space left on device. Free some space.")

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_results", refuse)
        evaluate_models([str(model)], out=out, metrics=["memory"], cache=None, quick=True, **options)


def test_what_was_measured_on_another_machine_is_measured_again(model, counting, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(EspalierError, match="unfinished.json: the same command goes on with it") as told:
        begin(model, out, monkeypatch)
    assert told.value.exit_code == 1 and "No space left" in str(told.value)
    with pytest.raises(EspalierError):
        begin(model, out, monkeypatch)
    assert counting == [1]
    place = run.environment()
    for change in ({"threads": 99}, {"cpu": "Another"}, {"gpu": "A card"}, {"libraries": {"torch": "1.0"}}):
        with monkeypatch.context() as patch:
            patch.setattr(run, "environment", lambda change=change: place | change)
            counting.clear()
            with pytest.raises(EspalierError):
                begin(model, out, monkeypatch)
        assert counting == [1], change


def test_finished_metrics_of_other_settings_are_ignored(tmp_path):
    result = Result("m", "memory", Measurement("bytes", 1.0, "B", protocol={}))
    Finished(tmp_path, {"quick": True}).keep("memory", [result], [])
    assert Finished(tmp_path, {"quick": True}).find("memory") is not None
    assert Finished(tmp_path, {"quick": False}).find("memory") is None


@pytest.mark.parametrize("out", ["file", "file/out", "round", "n" * 300])
@pytest.mark.parametrize("command", ["run", "sweep", "report"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(main, model, tmp_path, monkeypatch, command, out):
    (tmp_path / "file").write_text("x")
    (tmp_path / "round").symlink_to("round")
    monkeypatch.setattr("evals.model_pool.ModelPool.hold", lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.setattr("evals.reporting.report.draw_all", lambda *_: pytest.fail("plots were drawn"))
    words = {"sweep": ["--methods", "magnitude", "--sparsities", "0.5"]}.get(command, [])
    code, printed, errors = main(command, model, *words, "--out", tmp_path / out)
    assert (code, printed) == (2, "") and errors.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "round"]


def test_results_go_where_a_dangling_link_leads(model, counting, tmp_path):
    (tmp_path / "out").symlink_to("elsewhere")
    evaluate_models([str(model)], out=tmp_path / "out", metrics=["memory"], cache=None)
    assert read_results(tmp_path / "elsewhere")["results"] and (tmp_path / "out").is_symlink()


def test_a_model_of_a_long_name_gets_a_folder_that_a_disk_can_have(model, counting, tmp_path):
    long = tmp_path.joinpath(*["folder-" * 20] * 3)
    shutil.copytree(model, long)
    document = evaluate_models([str(long)], out=tmp_path / "out", metrics=["memory"], cache=None)
    assert all((tmp_path / "out" / name).is_file() for name in document["harness"])
    names = [sanitized("/a" * 200), sanitized("/b" + "/a" * 199), sanitized("é" * 300)]
    assert len(set(names)) == 3 and all(len(name.encode()) <= LONGEST for name in names)
    assert sanitized("a/b") == "a__b"


def test_harness_files_are_all_written_or_none(study, tmp_path, monkeypatch):
    own, seen = harness_export.write_json, []

    def refuse(path, content):
        seen.append(path)
        if len(seen) == 2:
            raise WriteFailed(path, "No space left on device.")
        own(path, content)

    monkeypatch.setattr(harness_export, "write_json", refuse)
    with pytest.raises(WriteFailed):
        harness_export.export(tmp_path, study(), {})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


CACHES = {
    "full": (sqlite3.OperationalError("database or disk is full"), "Free some space"),
    "read-only": (sqlite3.OperationalError("attempt to write a readonly database"), "permissions"),
    "held": (sqlite3.OperationalError("database is locked"), "Another process holds it"),
    "damaged": (sqlite3.DatabaseError("database disk image is malformed"), "Remove it"),
}


@pytest.mark.parametrize("case", CACHES)
def test_the_cache_gives_every_trouble_its_own_remedy(tmp_path, case):
    error, says = CACHES[case]
    cache = Cache(tmp_path / "answers")
    real = cache._connection

    class Refusing:
        def execute(self, *_):
            raise error

        def close(self):
            real.close()

    cache._connection = Refusing()
    with pytest.raises(EspalierError, match=says) as told:
        cache.keep({key("a"): b"1"})
    others = {"Free some space", "permissions", "Another process holds it", "Remove it"} - {says}
    assert not any(other in str(told.value) for other in others)
    cache.close()


def test_a_cache_that_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch):
    path = tmp_path / "answers"
    Cache(path).close()
    uri = f"file:{path}?mode=ro"
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _, **options: connect(uri, uri=True, **options))
    with pytest.raises(RequestError, match="permissions"):
        Cache(path)


def test_a_new_cache_holds_nothing(tmp_path):
    cache = Cache(tmp_path / "answers")
    assert cache._connection.execute("SELECT count(*) FROM answers").fetchone() == (0,)


def request(model, out, **options) -> Request:
    grid = Grid(["wanda"], [0.5], calibration=options.pop("calibration", "embedded"))
    return Request([str(model)], grid, out, quick=True, **options)


def settings(model, out, **options) -> dict:
    return make_plan(request(model, out, **options), False, "").planned[1].settings


def test_cells_are_known_by_the_machine_and_by_the_calibration_text(model, tmp_path, monkeypatch):
    before = settings(model, tmp_path / "out")
    assert before == settings(model, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(sweep_plan, "processor", lambda _: "Another processor")
        assert settings(model, tmp_path / "out")["machine"]["device"] == "Another processor"
    with monkeypatch.context() as patch:
        patch.setattr(sweep_plan, "choose_dtype", lambda *_: torch.float16)
        assert settings(model, tmp_path / "out")["machine"]["dtype"] == "float16"
    text = tmp_path / "text.txt"
    text.write_text("one")
    first = settings(model, tmp_path / "out", calibration=str(text))
    text.write_text("two")
    assert settings(model, tmp_path / "out", calibration=str(text))["calibration"] != first["calibration"]
    assert not (tmp_path / "out").exists()


def test_a_cell_of_another_machine_is_not_taken_for_finished(stand_in, monkeypatch):
    stand_in.run(0.5)
    monkeypatch.setattr(sweep_plan, "processor", lambda _: "Another processor")
    with pytest.raises(RequestError, match=r"results of other settings \(machine.device was"):
        stand_in.run(0.5, resume=True)


def test_a_model_that_is_kept_is_not_taken_for_that_of_another_request(stand_in):
    stand_in.run(0.5, keep=True)
    kept = stand_in.out / "models" / "model_magnitude_0.5"
    shutil.rmtree(stand_in.out / "cells")
    stand_in.run(0.5, keep=True, resume=True)  # the same model is made again and is the one that is there
    record = read_json(kept / "pruning.json")
    record["identity"]["pruning"]["seed"] = 5
    write_json(kept / "pruning.json", record)
    shutil.rmtree(stand_in.out / "cells")
    before = sorted(stand_in.files)
    with pytest.raises(RequestError, match="model_magnitude_0.5 holds the finished result of another run .*seed was 5"):
        stand_in.run(0.5, keep=True, resume=True)
    (kept / "pruning.json").unlink()
    with pytest.raises(RequestError, match="does not say what it was made of"):
        stand_in.run(0.5, keep=True, resume=True)
    assert [name for name in before if "pruning.json" not in name] == sorted(stand_in.files)


def test_a_sweep_on_a_disk_that_fills_up_says_what_is_kept(stand_in, monkeypatch):
    from evals.sweeping import sweep

    def refuse(path, _):
        raise WriteFailed(path, "No space left on device. Free some space.")

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "write_json", refuse)
        with pytest.raises(EspalierError, match="The cells are kept: the same command with --resume goes on"):
            stand_in.run(0.5)
    stand_in.run(0.5, resume=True)
    assert stand_in.started == [] and (stand_in.out / "sweep.json").exists()


def test_a_cell_s_name_that_no_disk_takes_is_refused_before_anything(tmp_path, tiny_folder):
    long = tiny_folder("llama").rename(tmp_path / ("m" * 230))
    with pytest.raises(RequestError, match="shorter name"):
        make_plan(request(long, tmp_path / "out"), False, "")
    assert not (tmp_path / "out").exists()


def test_a_report_leaves_what_it_cannot_replace(study, tmp_path, main):
    write_json(tmp_path / "run" / "results.json", study())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plots").write_text("a file of that name")
    code, _, errors = main("report", tmp_path / "run", "--out", tmp_path / "out")
    assert code == 2 and "plots is a file" in errors
    assert os.listdir(tmp_path / "out") == ["plots"]


def test_the_request_of_a_cell_names_what_its_model_is_made_of(model, tmp_path):
    planned = make_plan(request(model, tmp_path / "out"), False, "").planned[1]
    identity = planned.job.request["identity"]
    assert identity["pruning"]["method"] == "wanda" and identity["packed"] is None
    assert json.loads(json.dumps(identity)) == identity and Path(planned.folder.path).name == planned.cell.name
