"""What a sweep consists of: its cells, the names of its inputs, and the folders of its cells."""

import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from evals.runs.results import write_results
from evals.sweeping.cell_folder import CellFolder, made_of
from evals.sweeping.grid import Grid
from evals.sweeping.inputs import Inputs
from models.errors import RequestError


def test_cells_are_the_product_with_each_models_dense_one_first():
    grid = Grid(["wanda", "obs"], [0.3, 0.5], ["unstructured", "unstructured:row"], ["none", "sparsegpt"])
    cells = grid.cells(["embedded", "owner/name@main"])
    assert len(cells) == 2 * (1 + 2 * 2 * 2 * 2)
    assert [cell.name for cell in cells][:4] == [
        "embedded_dense", "embedded_wanda_0.3", "embedded_wanda_0.5", "embedded_wanda_sparsegpt_0.3",
    ]  # fmt: skip
    assert cells[-1].name == "owner--name@main_obs_unstructured-row_sparsegpt_0.5"
    assert cells[-1].model == "owner/name@main" and cells[-1].config.solver == "sparsegpt"
    assert (cells[0].recipe, cells[0].sparsity, cells[0].config) == ("dense", 0.0, None)
    assert cells[3].recipe == "wanda, sparsegpt"


@given(
    st.lists(st.sampled_from(["magnitude", "wanda", "ria", "obs"]), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(0, 99).map(lambda percent: percent / 100), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(["embedded", "a/b", "model", "x--y"]), min_size=1, max_size=3, unique=True),
)
def test_names_are_those_of_files_and_tell_all_cells_apart(methods, sparsities, models):
    cells = Grid(methods, sparsities).cells(models)
    names = {cell.name.lower() for cell in cells}
    assert len(names) == len(cells) == len(models) * (1 + len(methods) * len(sparsities))
    assert all(re.fullmatch(r"[\w.@+-]+", cell.name) for cell in cells)
    assert {(cell.config.method, cell.sparsity) for cell in cells if cell.config} == {
        (method, sparsity) for method in methods for sparsity in sparsities
    }


def test_a_pattern_that_fixes_its_sparsity_needs_none():
    assert [cell.name for cell in Grid(["wanda"], (), ["2:4", "1:4"]).cells(["m"])[1:]] == [
        "m_wanda_2-4_0.5", "m_wanda_1-4_0.75",
    ]  # fmt: skip
    with pytest.raises(RequestError, match="m_wanda: the pattern unstructured .* --sparsities"):
        Grid(["wanda"]).cells(["m"])


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        (Grid(["wandah"], [0.5]), "m_wandah_0.5: Unknown method 'wandah'"),
        (Grid(["wanda"], [0.5, 1.5]), "m_wanda_1.5: The sparsity must be from 0 to below 1"),
        (Grid(["wanda"], [float("nan")]), "m_wanda_nan: The sparsity must be"),
        (Grid(["wanda"], [0.3, 0.5], ["2:4"]), "m_wanda_2-4_0.3: The pattern 2:4 means a sparsity of 0.5, not 0.3"),
        (Grid(["wanda", "magnitude"], [0.5], solvers=["alps"]), "m_magnitude_alps_0.5: The solver alps cannot work"),
        (Grid(["block-influence"], [0.5], ["block:2x2"]), "--pattern block:2x2 is about single weights"),
        (Grid(["wanda"], [0.5], samples=0), "calibration samples must be at least 1"),
        (Grid(["wanda", "ria", "wanda"], [0.5]), "The cell m_wanda_0.5 is asked for twice"),
        (Grid(["wanda"], [0.5, 0.50]), "The cell m_wanda_0.5 is asked for twice"),
        (Grid([], [0.5]), "--methods names nothing"),
        (Grid(["wanda"], [0.5], solvers=[]), "--solvers names nothing"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(grid, told):
    with pytest.raises(RequestError, match=re.escape(told)) as refusal:
        grid.cells(["m"])
    assert "\n" not in str(refusal.value) and refusal.value.exit_code == 2


def test_inputs_are_named_by_what_tells_them_apart(tmp_path):
    inputs = Inputs()
    for name in ("a/model", "b/model", "embedded"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(name)
    (tmp_path / "b" / "text.txt").write_text("A wall.")
    named = [inputs.add_folder(tmp_path / name, ["config.json"]) for name in ("a/model", "b/model", "embedded")]
    assert named == ["model", "b--model", f"{tmp_path.name}--embedded"]
    assert inputs.add_folder(tmp_path / "b" / ".." / "a" / "model", ["config.json"]) == "model"
    assert inputs.add_file(tmp_path / "b" / "text.txt") == "text.txt"
    assert inputs.files(["b--model", "text.txt", "Hub/name"]) == {
        "b--model/config.json": tmp_path / "b" / "model" / "config.json", "text.txt": tmp_path / "b" / "text.txt",
    }  # fmt: skip
    before = inputs.digests(["model", "text.txt"])
    (tmp_path / "b" / "text.txt").write_text("A tree.")
    after = inputs.digests(["model", "text.txt"])
    assert before.keys() == after.keys() == {"model/config.json", "text.txt"}
    assert [name for name in before if before[name] != after[name]] == ["text.txt"]


PARTS = st.sampled_from(["a", "b", "a--b", "embedded"])


@example(["b", "a/a--b", "a/b", "a--b"])
@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=6))
def test_two_paths_never_share_a_name_and_none_lies_in_another(paths):
    inputs = Inputs()
    names = {path: inputs.add_file(f"/{path}") for path in paths}
    assert len(set(names.values())) == len(names)
    assert all("/" not in name and name != "embedded" for name in names.values())


SETTINGS = {"model": "m", "pruning": {"method": "wanda", "sparsity": 0.5}}


@pytest.fixture
def folder(tmp_path):
    return CellFolder(tmp_path / "cells" / "m_wanda_0.5")


def test_a_cell_is_whole_with_results_of_the_same_settings(folder, study):
    assert not folder.check(SETTINGS)
    folder.begin(SETTINGS)
    assert not folder.check(SETTINGS)
    write_results(folder.path, study())
    assert folder.check(SETTINGS) and folder.document() == study()
    other = SETTINGS | {"pruning": {"method": "wanda", "sparsity": 0.3}}
    with pytest.raises(RequestError, match="pruning.sparsity was 0.5 and is 0.3"):
        folder.check(other)
    folder.results.write_text(folder.results.read_text()[:-100])
    assert not folder.check(SETTINGS)  # not whole: it is made again
    assert not folder.check(other)


def test_what_a_killed_process_left_is_gone_on_with_or_goes(folder, study):
    folder.begin(SETTINGS)
    model = folder.workspace / "m_wanda_0.5"
    left = (folder.workspace / ".m.x.tmp-folder" / "config.json", folder.path / ".report.md.x.tmp-file")
    for path in (
        model / "config.json",
        folder.path / "unfinished.json",
        folder.path / "model" / "results_1.json",
        *left,
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    folder.begin(SETTINGS)
    files = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    assert files == {"cell.json", "unfinished.json", "work/m_wanda_0.5/config.json"}
    folder.begin(SETTINGS | {"model": "another"})
    assert [path for path in folder.path.rglob("*") if path.is_file()] == [folder.path / "cell.json"]
    assert json.loads((folder.path / "cell.json").read_text())["model"] == "another"


def test_a_kept_model_takes_its_place_even_if_the_process_was_killed_before(tmp_path, study):
    settings = SETTINGS | {"model_and_libraries": "a", "calibration": "b", "machine": "c"}
    kept = tmp_path / "models" / "m_wanda_0.5"
    folder = CellFolder(tmp_path / "cells" / "m_wanda_0.5", kept)
    folder.begin(settings)
    write_results(folder.path, study())
    assert not folder.check(settings)  # the model is not there
    made = folder.workspace / "m_wanda_0.5"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "pruning.json").write_text(json.dumps({"identity": made_of(settings)}))
    save_file({"weight": torch.zeros(2)}, made / "model.safetensors")
    assert folder.check(settings) and not kept.exists()
    folder.settle()
    assert folder.check(settings) and not folder.workspace.exists()
    assert sorted(path.name for path in kept.iterdir()) == ["config.json", "model.safetensors", "pruning.json"]
    with pytest.raises(RequestError, match="machine"):
        folder.check(settings | {"machine": "another"})


def test_a_folder_of_someone_else_is_not_touched(folder):
    folder.path.mkdir(parents=True)
    (folder.path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="is no cell of a sweep"):
        folder.check(SETTINGS)
    assert [path.name for path in Path(folder.path).iterdir()] == ["notes.txt"]
