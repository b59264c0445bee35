"""One run: recipes as files, and the same bytes whichever way a request comes in."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from models import load
from models.console.progress import silent
from models.errors import RequestError
from pruning import PruningConfig, Recipe, run
from pruning.packing.format import Format
from pruning.running.session import Machine

RECIPES = [
    Recipe(PruningConfig()),
    Recipe(PruningConfig(method="magnitude", sparsity=0.25), Format.parse("int8:64")),
    Recipe(PruningConfig(method="obs", solver="exchange", pattern="2:4", samples=4, sequence_length=64, seed=3)),
    Recipe(PruningConfig(method="obs", solver="sparsegpt", match="dense")),
    Recipe(PruningConfig(structure="layers", sparsity=0.3, calibration="embedded:prose"), verify=False),
    Recipe(PruningConfig(method="wanda", recover="reconstruct+distill", recover_minutes=2, budget="3M"), Format.parse("2:4")),
]  # fmt: skip
SMALL = {"method": "wanda", "sparsity": 0.5, "samples": 4, "sequence_length": 32}


def sha(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_that_was_written_is_read_as_the_same(recipe, tmp_path):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert Recipe.read(tmp_path / "recipe.yaml") == (recipe, None)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml("smollm2"))
    assert Recipe.read(tmp_path / "recipe.yaml") == (recipe, "smollm2")


def test_a_recipe_says_only_what_is_not_so_by_itself():
    told = yaml.safe_load(Recipe(PruningConfig(method="wanda", samples=8)).to_yaml())
    assert told == {
        "stages": [
            {"calibrate": {"samples": 8}}, {"allocate": {"sparsity": 0.5}}, {"solve": {"method": "wanda"}}, {"save": {}},
            {"verify": {}},
        ]
    }  # fmt: skip
    assert Recipe.from_dict({"stages": [{"solve": {"method": "wanda"}}, "save"]}) == Recipe(
        PruningConfig(method="wanda"), verify=False
    )


BAD = {
    "no mapping": ("- 1", "a list of `stages`"),
    "no YAML": ("stages: [", "is no YAML"),
    "unknown stage": ("stages: [bake]", "Unknown stage 'bake': use one of calibrate"),
    "unknown setting": ("stages: [{solve: {methods: wanda}}, save]", "solve has no setting 'methods': it has method"),
    "twice": ("stages: [{solve: {}}, {solve: {}}, save]", "names the stage solve twice"),
    "in another order": ("stages: [{pack: {}}, {solve: {}}, save]", "solve comes too late"),
    "nothing goes": ("stages: [save]", "one stage solve or cut"),
    "not saved": ("stages: [{solve: {}}]", "no stage save"),
    "cut what": ("stages: [{cut: {}}, save]", "must name a structure"),
    "settings that are none": ("stages: [{solve: wanda}, save]", 'are a mapping, not "wanda"'),
    "a wrong value": ("stages: [{allocate: {sparsity: 2}}, {solve: {}}, save]", "must be from 0 to below 1"),
    "an unknown format": ("stages: [{solve: {}}, {pack: {format: zip}}, save]", "no packed format 'zip'"),
    "another key": ("stages: [{solve: {}}, save]\nsolver: alps", "but no 'solver'"),
    "no model's name": ("model: 3\nstages: [{solve: {}}, save]", "`model` must be a name"),
    "a stage that is none": ("stages: [3]", "A stage is written"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_faulty_recipe_is_one_line_that_names_the_file(case, tmp_path):
    text, line = BAD[case]
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RequestError) as caught:
        Recipe.read(tmp_path / "recipe.yaml")
    assert line in str(caught.value) and "recipe.yaml" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(RequestError, match="There is no file"):
        Recipe.read(tmp_path / "absent.yaml")


@pytest.fixture(scope="module")
def model(tiny_folder):
    return tiny_folder("llama")


@pytest.fixture(scope="module")
def pruned(model, run_cli, tmp_path_factory):
    """The folder that the command line makes of `SMALL`."""
    out = tmp_path_factory.mktemp("cli") / "out"
    words = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", value)]
    done = run_cli("pruning", "prune", model, "--out", out, *words)
    assert done.returncode == 0, done.stderr
    return out


def test_the_command_line_its_recipe_and_python_make_the_same_bytes(pruned, model, run_cli, tmp_path):
    printed = run_cli(
        "pruning", "prune", model, "--recipe", "--method", "wanda", "--samples", 4, "--sequence-length", 32
    )
    (tmp_path / "recipe.yaml").write_text(printed.stdout)
    done = run_cli("pruning", "run", tmp_path / "recipe.yaml", "--out", tmp_path / "again")  # which names its model
    assert done.returncode == 0, done.stderr
    made = run(Recipe(PruningConfig(**SMALL)), str(model), tmp_path / "python")
    assert made.folder == tmp_path / "python" and made.report.after.sparsity == pytest.approx(0.5, abs=0.01)
    replayed = run(Recipe.read(pruned / "pruning.json")[0], str(model), tmp_path / "replayed")
    assert replayed.recipe == made.recipe
    assert (
        len({sha(folder) for folder in (pruned, tmp_path / "again", tmp_path / "python", tmp_path / "replayed")}) == 1
    )


def test_a_cell_of_a_sweep_makes_the_same_bytes(pruned, model, tmp_path, monkeypatch):
    from evals.sweeping import cell

    monkeypatch.chdir(tmp_path)
    evaluation = {"device": "auto", "dtype": "auto"}
    asked = {"model": str(model), "name": "cell", "pruning": SMALL, "check": False, "identity": {"of": "a test"}}
    cell._prune(asked | {"evaluation": evaluation}, silent)
    assert sha(tmp_path / "cell") == sha(pruned)
    assert json.loads((tmp_path / "cell" / "pruning.json").read_text())["identity"] == {"of": "a test"}
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


@pytest.mark.parametrize("method, solver, match", [("wanda", "none", "none"), ("obs", "sparsegpt", "dense")])
def test_the_page_makes_the_same_weights(pruned, model, method, solver, match):
    from ui.engine import Settings
    from ui.local_engine import LocalEngine, calibration_sizes

    engine = LocalEngine(str(model), dtype="float32")
    try:
        settings = Settings(method, 0.5, "unstructured", solver, "plain")
        sizes = calibration_sizes(engine.dense(str(model)), settings)
        twin = engine.prune(str(model), settings, silent)
    finally:
        engine.close()
    made = run(
        Recipe(PruningConfig(method, 0.5, solver=solver, match=match, **sizes)), load(str(model), dtype="float32")
    )
    assert made.folder is None
    theirs, ours = twin.loaded.model.state_dict(), made.loaded.model.state_dict()
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in ours)
    zeros = load_file(pruned / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].eq(0).float().mean()
    assert float(ours["model.layers.0.mlp.up_proj.weight"].eq(0).float().mean()) == pytest.approx(float(zeros))


def test_a_run_without_an_out_is_refused_and_what_is_done_in_memory_is_not_saved(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(PruningConfig(method="magnitude"))
    with pytest.raises(RequestError, match="--out DIR"):
        run(recipe, str(model))
    made = run(recipe, load(str(model)), machine=Machine(activations="disk"))
    assert made.folder is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_recipes_that_ship_can_be_followed(file):
    recipe, model = Recipe.read(file)
    assert model is None and recipe.verify


def test_a_recipe_without_a_model_asks_for_one(capsys):
    from pruning.commands.cli import main

    assert main(["run", str(Path(__file__).parents[2] / "recipes" / "quick.yaml"), "--out", "nowhere"]) == 2
    assert "put MODEL behind it" in capsys.readouterr().err
