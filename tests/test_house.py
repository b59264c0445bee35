"""The house rules that hold across folders: who imports whom, quick help, published figures, no pickles, no remote code."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {"models": 0, "training": 1, "pruning": 2, "evals": 3, "ui": 4, "app": 5}
SOURCES = [path for floor in FLOORS for path in (*ROOT.glob(f"{floor}.py"), *sorted((ROOT / floor).rglob("*.py")))]


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_there_is_a_house():
    assert len(SOURCES) > 40 and {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in SOURCES} == set(
        FLOORS
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lower_floor_never_imports_a_higher_one(path):
    here = FLOORS[path.relative_to(ROOT).parts[0].removesuffix(".py")]
    higher = {name for name in imports(path) if FLOORS.get(name, -1) > here}
    assert not higher


def test_every_name_that_is_imported_for_its_type_alone_exists():
    """Such imports never run, so that nothing else would say so."""
    for path in SOURCES:
        for block in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"):
                continue
            for node in block.body:
                if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in FLOORS:
                    module = importlib.import_module(node.module)
                    missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                    assert not missing, f"{path.relative_to(ROOT)}: {node.module} has no {missing}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_remote_code_or_opens_a_stranger_s_pickle(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert isinstance(node.value, ast.Constant) and node.value.value is False
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
        assert not (isinstance(node, ast.Import) and any(alias.name == "pickle" for alias in node.names))


@pytest.mark.parametrize(
    "words",
    [["training"], ["training", "data"], ["pruning"], ["pruning", "prune"], ["evals"], ["evals", "run"], ["app.py"]],
    ids=" ".join,
)
def test_help_does_not_wait_for_torch(words):
    start = [] if words[0].endswith(".py") else ["-m"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *start, *words, "--help"],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "usage:" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "transformers", "gradio", "numpy"}


def test_the_published_figures_are_those_of_the_stored_results(run_cli):
    done = run_cli("benchmarks/publish.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
