"""Settings and the catalogue: what is filled in, what is refused, what is listed."""

import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

from models.errors import RequestError
from pruning import PruningConfig, registry


def test_defaults():
    config = PruningConfig()
    assert (config.method, config.sparsity, config.pattern, config.structure) == ("wanda", 0.5, "unstructured", "none")
    assert PruningConfig(structure="layers").method == "block-influence"
    assert PruningConfig(method="block-influence").structure == "layers"
    assert PruningConfig(pattern="1:4").sparsity == 0.75
    assert PruningConfig(pattern="2:4", sparsity=0.5).sparsity == 0.5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sparsity": 1.0}, "from 0 to below 1"),
        ({"sparsity": -0.1}, "from 0 to below 1"),
        ({"sparsity": float("nan")}, "from 0 to below 1"),
        ({"sparsity": "half"}, "must be a number"),
        ({"method": "wander"}, "taylor, wanda"),
        ({"budget": "small"}, "such as 3.5M, or bytes, such as 9MiB"),
        ({"budget": "5G"}, "is not a size"),
        ({"budget": "5ib"}, "is not a size"),
        ({"budget": "3M", "pattern": "2:4"}, "leaves nothing to fit to a budget"),
        ({"budget": "3M", "structure": "layers"}, "omit one of them"),
        ({"pattern": "2:4:8"}, "unstructured, unstructured:row, unstructured:layer, unstructured:global"),
        ({"pattern": "5:4"}, "1 <= N <= M"),
        ({"pattern": "2:4", "sparsity": 0.6}, "means a sparsity of 0.5"),
        ({"structure": "stairs"}, "layers, none"),
        ({"structure": "layers", "method": "wanda"}, "belongs to structure none"),
        ({"structure": "none", "method": "block-influence"}, "belongs to structure layers"),
        ({"structure": "layers", "pattern": "2:4"}, "omit one of them"),
        ({"allocation": "fair"}, "uniform"),
        ({"solver": "magic"}, "use one of alps, exchange, none"),
        ({"recover": "magic"}, "use one of distill, none, reconstruct"),
        ({"calibration": "no such thing"}, "embedded, self"),
        ({"calibration": ""}, "embedded, self"),
        ({"samples": 0}, "at least 1"),
        ({"sequence_length": 1}, "at least 2"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_settings_are_one_clear_line(settings, says):
    with pytest.raises(RequestError) as caught:
        PruningConfig(**settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_file_of_a_kind_is_in_the_catalogue():
    for kind, package in registry.FOLDERS.items():
        files = [name for _, name, _ in pkgutil.iter_modules(import_module(package).__path__)]
        homes = {entry.implementation.__module__.rpartition(".")[2] for entry in registry.entries(kind)}
        assert homes == set(files)


def test_catalogue_has_one_line_each():
    for entry in registry.catalogue():
        assert entry.summary.endswith(".") and "\n" not in entry.summary
        assert entry.as_dict()["name"] == entry.name


def test_a_new_method_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "reversed_magnitude.py").write_text(
        "from pruning.registry import register\n"
        '@register("method", "reversed-magnitude", group="row")\n'
        "def reversed_magnitude(weight, statistics):\n"
        '    """The largest go first."""\n'
        "    return -weight.abs()\n"
    )
    scores = import_module("pruning.scores")
    monkeypatch.setattr(scores, "__path__", [*scores.__path__, str(tmp_path)])
    monkeypatch.setitem(registry._entries, "method", dict(registry._entries["method"]))
    assert PruningConfig(method="reversed-magnitude").structure == "none"
    assert any(entry.summary == "The largest go first." for entry in registry.catalogue())


def test_registering_carelessly_is_a_mistake():
    with pytest.raises(ValueError, match="no docstring"):
        registry.register("solver", "nameless")(lambda: None)
    with pytest.raises(ValueError, match="two methods"):
        registry.register("method", "wanda")(test_defaults)


def test_shipped_texts_are_prose_without_repetition():
    files = sorted((Path(registry.__file__).parent / "calibration" / "texts").glob("*.txt"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert len(text.split()) >= 6000
    lines = [line for line in text.splitlines() if len(line) > 40]
    assert len(lines) == len(set(lines))
    words = text.split()
    runs = [tuple(words[start : start + 12]) for start in range(len(words) - 12)]
    assert len(set(runs)) == len(runs)
