"""The table of a real model: cells that are resumed step by step, paired figures, and tables of whatever is there."""

import json

import numpy as np
import pytest

from benchmarks.harness_tasks import COUNTERPARTS
from benchmarks.publishing import real, stored
from benchmarks.real import cells, figures
from benchmarks.real.kept import Kept
from evals import statistics, task
from evals.judging import choices
from evals.rows.row import Row
from models.errors import RequestError

PLACE = {"cpu": "Some CPU", "gpu": None, "threads": 2, "libraries": {"torch": "2.8", "transformers": "5.1"}}
MEASURED = {"model": "smollm2", "dtype": "auto", "windows": 12, "close": 3, "rows": 40}
CALIBRATED = MEASURED | {"calibration": "embedded", "samples": 32, "sequence_length": 1024, "calibration_text": "ab"}
WORSE = {"dense": 0.0, "wanda@0.5": 1.0, "magnitude@0.5": 3.0}  # nats over the dense model


def text(worse: float) -> dict:
    base = np.random.default_rng(0).normal(3, 0.2, 12)
    tokens = np.full(12, 2047.0)
    protocol = {"name": "gptq", "dtype": "bfloat16", "length": 2048}
    return {
        "nats": list((base + worse) * tokens), "sizes": {"tokens": list(tokens), "bytes": list(4 * tokens)},
        "protocol": protocol,
    }  # fmt: skip


def cell(name: str, **changes) -> dict:
    contender, _, pattern = name.partition("@")
    hits = "".join(str(int(draw > 0.4 + WORSE[name] / 20)) for draw in np.random.default_rng(1).random(40))
    tasks = {
        "piqa": {"hits": {"accuracy": "0" * 40, "accuracy_norm": hits}, "asked": "x"},
        "lambada": {"hits": {"accuracy": hits}, "asked": "y"},
    }
    packed = {real.PLAIN: {"bytes": 8, "rates": [10.0] * 5}, "int8": {"bytes": 2, "rates": [30.0] * 4 + [31.0]}}
    found = {
        "cell": name, "contender": contender, "pattern": pattern, "command": "python x", "environment": PLACE,
        "protocol": CALIBRATED if pattern else MEASURED, "tasks": tasks, "packed": packed, "schema_version": 1,
        "texts": {key: text(WORSE[name]) for key in real.TEXTS}, "pruning": 25.0, "seconds": {},
        "closeness": {"kl": [0.5, 0.6, 0.7], "agreement": [0.5, 0.6, 0.55]},
    }  # fmt: skip
    return found | changes


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Stores cells as real_model.py does."""
    monkeypatch.setattr(stored, "RESULTS", tmp_path)

    def put(*found: dict) -> None:
        folder = tmp_path / "real_model" / real.MODEL
        folder.mkdir(parents=True, exist_ok=True)
        for each in found:
            (folder / cells.Cell(each["contender"], each["pattern"]).file).write_text(json.dumps(each))

    return put


def test_the_excess_is_paired_and_its_ratio_is_known():
    dense, wanda, magnitude = (cell(name) for name in WORSE)
    assert figures.excess(magnitude, dense)["value"] == pytest.approx(3)
    assert figures.excess_ratio(magnitude, wanda, dense)["value"] == pytest.approx(3)
    ratio = figures.perplexity(wanda, "c4_sample")["value"] / figures.perplexity(dense, "c4_sample")["value"]
    assert ratio == pytest.approx(np.e)


def test_a_gain_is_paired_by_row_and_the_mean_has_the_spread_of_its_tasks():
    dense, magnitude = cell("dense"), cell("magnitude@0.5")
    first, second = (figures.hits(each, "piqa") for each in (dense, magnitude))
    apart = statistics.paired_difference(first, second)
    assert figures.gain(magnitude, dense, "piqa") == apart
    found = figures.mean_gain(magnitude, dense)
    assert found["value"] == pytest.approx(apart.value)
    half = (found["interval"][1] - found["interval"][0]) / 2
    assert half == pytest.approx(statistics.around(0, apart.stderr / np.sqrt(2), 80).interval[1])
    other = cell("magnitude@0.5")
    other["tasks"]["piqa"]["asked"] = "z"
    with pytest.raises(KeyError, match="the same rows"):
        figures.mean_gain(other, dense)


def test_the_table_shows_what_is_there_and_says_what_is_missing(store):
    store(*(cell(name) for name in WORSE))
    shown = real.real_model()
    rows = [line for line in shown.splitlines() if line.startswith("| 0.5") or "| dense" in line]
    assert [row.split("|")[2].strip() for row in rows] == ["dense", "wanda", "magnitude"]
    assert "3.00" in rows[2] and "25 s" in rows[2]
    assert "Not measured yet: `sparsegpt@0.5`" in shown and "`wanda@0.5`" not in shown
    assert "packed, int8" in real.real_packed() and "3.00" in real.real_packed()
    assert "piqa" in real.real_tasks()
    short = [line for line in real.real_short().splitlines() if line.startswith("| 0.5")]
    assert len(short) == 2 and "3.00" in short[1]


def test_cells_of_another_protocol_are_left_out(store):
    other = CALIBRATED | {"calibration_text": "cd"}
    store(cell("dense"), cell("wanda@0.5"), cell("magnitude@0.5", protocol=MEASURED | {"rows": 9}))
    assert set(real.measured()) == {"dense", "wanda@0.5"}
    store(cell("magnitude@0.5"), cell("wanda@0.5", protocol=other))
    assert len(real.measured()) == 2  # one group, never a mixture
    with pytest.raises(RequestError, match="no dense cell"):
        (stored.RESULTS / "real_model" / real.MODEL / "dense.json").unlink()
        real.real_model()


def test_the_dense_model_stands_beside_what_was_published(store):
    store(cell("dense"))
    asked = {"hits": {"accuracy_norm": "1" * 30 + "0" * 10}, "asked": "x"}
    found = {"environment": PLACE, "command": "python x", "protocol": {}, "tasks": {"piqa": asked, "hellaswag": asked}}
    (stored.RESULTS / "real_model" / real.MODEL / "published.json").write_text(json.dumps(found))
    line = next(line for line in real.real_dense().splitlines() if "piqa" in line)
    assert set(real.measured()) == {"dense"}
    assert "75.0" in line and "66.3 %" in line and "+8.7" in line


def test_finished_steps_are_kept_for_the_same_protocol_alone(tmp_path):
    path, done = tmp_path / "cell.part", []

    def work() -> dict:
        done.append(1)
        return {"value": 7}

    assert Kept(path, {"rows": 1}).step("texts", work) == {"value": 7}
    again = Kept(path, {"rows": 1})
    assert again.step("texts", work) == {"value": 7} and len(done) == 1
    assert again.seconds.keys() == {"texts"}
    with pytest.raises(KeyboardInterrupt):
        again.step("tasks", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert Kept(path, {"rows": 1}).found("texts") == {"value": 7} and Kept(path, {"rows": 1}).found("tasks") == {}
    assert Kept(path, {"rows": 2}).step("texts", work) == {"value": 7} and len(done) == 2
    again.clear()
    assert not path.exists()


def test_cells_are_named_chosen_and_stored_apart():
    found = cells.all_cells()
    names = [each.name for each in found]
    assert names[:4] == ["dense", "wanda@0.5", "magnitude@0.5", "sparsegpt@0.5"]
    assert len({each.file for each in found}) == len(found) and not any(":" in each.file for each in found)
    assert {each.name for each in cells.chosen(["*@2:4"])} == {name for name in names if name.endswith("@2:4")}
    assert cells.chosen([]) == found
    with pytest.raises(RequestError, match="no cell wanda@3:4: use some of dense"):
        cells.chosen(["wanda@3:4"])
    for each in found:
        if each.pattern:
            config = each.config(32, 1024, "embedded")
            assert (config.samples, config.sequence_length) == (32, 1024)
            assert config.pattern == each.pattern or config.sparsity == float(each.pattern)
            assert (config.recover == cells.RECOVERY) == each.contender.endswith(cells.RECOVERY)
            assert (config.match == "dense") == (cells.MATCHED in each.contender)
            assert {f"{name}@{each.pattern}" for name in cells.ours(each.pattern)} <= set(names)


ROWS = {
    "piqa": {"goal": "dress", "sol1": "a", "sol2": "b", "label": "1"},
    "hellaswag": {"ctx": "Roof: A man sits on it. he", "endings": ["a", "b", "c", "d"], "label": 2},
    "arc_challenge": {"question": "What?", "choices": ["1", "2", "3"], "gold": 2},
    "openbookqa": {"query": "Wood is", "choices": ["hard", "soft", "wet", "hot"], "gold": 0},
    "commonsense_qa": {"query": " Where? ", "choices": ["here", "there", "up", "in", "out"], "gold": 3},
    "mmlu": {"subject": "college_biology", "question": "?", **dict(zip("ABCD", "wxyz", strict=True)), "answer": "C"},
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_in_the_layout_of_the_hub_asks_the_same(name):
    asked = task.find(name)
    (row,) = asked._kept([Row(ROWS[name])])
    (again,) = asked._kept([Row(COUNTERPARTS[name].row(row))])
    assert asked.prompt_of(again) == asked.prompt_of(row)
    assert choices.continuations(asked, again) == choices.continuations(asked, row)
    assert choices.target(asked, again) == choices.target(asked, row)
