"""`python -m evals report`: tables, CSV and plots of stored results, and only what they allow."""

import csv
import io
import struct
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.measurement import Measurement
from evals.reporting.canvas import canvas, look, place_labels
from evals.reporting.csv_file import as_csv
from evals.reporting.frontier import front
from evals.reporting.headings import headings, title
from evals.reporting.lineage import lineage, recipe_name
from evals.reporting.plots.growth import growth
from evals.reporting.plots.latency import latency
from evals.reporting.plots.perplexity_sparsity import perplexity_sparsity
from evals.reporting.plots.quality_bytes import quality_bytes
from evals.reporting.plots.quality_speed import quality_speed
from evals.reporting.plots.tasks import tasks
from evals.reporting.plotting import Undrawable
from evals.reporting.report import write_report
from evals.reporting.table import in_words, markdown
from evals.runs.results import PairedTest, Result, write_results
from models.errors import RequestError

PLOTS = ("growth", "latency", "perplexity_sparsity", "quality_bytes", "quality_speed", "tasks")


@pytest.fixture
def stored(study, tmp_path):
    write_results(tmp_path / "run", study())
    return tmp_path / "run"


def test_the_command_writes_tables_and_plots(stored, run_cli):
    process = run_cli("evals", "report", stored)
    assert process.returncode == 0, process.stderr
    out = stored / "report"
    assert process.stdout == (out / "report.md").read_text()
    assert sorted(file.name for file in (out / "plots").iterdir()) == sorted(
        f"{name}.{suffix}" for name in PLOTS for suffix in ("png", "svg")
    )
    for name in PLOTS:
        assert f"(plots/{name}.png)" in process.stdout
        head = (out / "plots" / f"{name}.png").read_bytes()
        assert head[:8] == b"\x89PNG\r\n\x1a\n" and min(struct.unpack(">II", head[16:24])) > 400
        assert ElementTree.parse(out / "plots" / f"{name}.svg").getroot().tag.endswith("svg")
    assert "Not drawn" not in process.stdout
    rows = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    assert {row["method"] for row in rows} == {"", "wanda", "magnitude"}


def test_two_folders_make_one_report_or_none(study, tmp_path, run_cli):
    write_results(tmp_path / "a", study(methods=("wanda",)))
    write_results(tmp_path / "b", study(methods=("obs",), length=256))
    nowhere = run_cli("evals", "report", tmp_path / "a", tmp_path / "b")
    assert nowhere.returncode == 2 and "--out" in nowhere.stderr
    refused = run_cli("evals", "report", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "b/results.json" in refused.stderr and "length 256 against 512" in refused.stderr
    assert not (tmp_path / "out").exists()
    chosen = run_cli("evals", "report", tmp_path, "--out", tmp_path / "out", "--metrics", "tasks,speed")
    assert chosen.returncode == 0, chosen.stderr
    assert "obs-30" in chosen.stdout and "## Perplexity" not in chosen.stdout


def test_help_waits_for_no_library():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "evals", "report", "--help"], capture_output=True, text=True
    )
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert done.returncode == 0 and not loaded & {"torch", "numpy", "matplotlib", "jsonschema", "pandas"}


def test_only_what_the_data_allow_is_drawn_and_the_rest_is_explained(study, tmp_path):
    write_results(tmp_path / "run", study(groups=["perplexity"]))
    assert "perplexity_sparsity" in write_report([tmp_path / "run"], tmp_path / "out").plots.made
    (tmp_path / "out" / "plots" / "mine.png").write_text("kept")
    write_results(tmp_path / "run", study(methods=(), groups=["memory"]))
    report = write_report([tmp_path / "run"], tmp_path / "out")
    assert set(report.plots.missing) == set(PLOTS) and not report.plots.made
    assert [file.name for file in (tmp_path / "out" / "plots").iterdir()] == ["mine.png"]  # no plot of other results
    for line in (
        "- Growth: no growth of cost was measured.", "- Latency: no single latencies were stored.",
        "- Perplexity sparsity: no perplexity was measured.", "- Tasks: no task was measured.",
        "- Quality speed: no speed was measured.", "- Quality bytes: it takes two models with this cost measured.",
    ):  # fmt: skip
        assert line in report.text


def test_without_matplotlib_nothing_is_written(stored, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequestError, match="pip install"):
        write_report([stored], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_report_names_noise_tests_and_power(study):
    text = markdown(study())
    line = next(line for line in text.splitlines() if line.startswith("| wanda-30") and "sst2: accuracy diff" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2:] == ["-0.100 (-0.110 to -0.090)", "lower", "McNemar, exact", "0.002", "0.004", "0.04"]
    assert "lower alone, within noise among all tasks" in text  # squad, whose p does not survive Holm's correction
    assert "1.010 times (0.970 to 1.050), within noise" in text
    assert "Against `dense`:" in text


def test_the_csv_has_every_number_with_all_its_digits(study):
    document = study()
    rows = list(csv.DictReader(io.StringIO(as_csv(document))))
    assert len(rows) == len(document["results"])
    for row, entry in zip(rows, document["results"], strict=True):
        assert float(row["value"]) == entry["value"] and row["metric"] == entry["metric"]
        assert [float(row["low"]), float(row["high"])] == entry["interval"] if entry["interval"] else not row["low"]
        assert (row["verdict"] != "") == (entry["baseline"] is not None)
    assert {row["sparsity"] for row in rows if row["model"] == "wanda-50"} == {"0.5"}


def test_lines_of_perplexity_begin_at_the_dense_model_and_carry_their_intervals(study):
    (axes,) = perplexity_sparsity(study()).axes
    bars = {container.get_label(): container for container in axes.containers}
    assert {"wanda", "magnitude"} <= set(bars)
    line, _, (ends,) = bars["wanda"]
    assert list(line.get_ydata()) == [20 * 1.3, 20 * 1.5]
    assert [tuple(segment[:, 1]) for segment in ends.get_segments()] == [
        pytest.approx((0.9 * value, 1.1 * value)) for value in (26, 30)
    ]
    assert all(abs(x - expected) < 2 for x, expected in zip(line.get_xdata(), (30, 50), strict=True))
    assert axes.get_xlabel() == "sparsity (% of the prunable weights)" and "length 512" in axes.get_title()


def test_perplexities_of_two_tokenizers_are_drawn_apart(study):
    document, other = study(), study(dense="other", methods=("obs",), tokens="dddd")
    document["models"] += other["models"]
    document["results"] += other["results"]
    assert len(perplexity_sparsity(document).axes) == 2
    assert quality_bytes(document).axes[0].get_ylabel().startswith("Bits per byte")


def test_without_recipes_the_share_of_missing_parameters_is_shown(study):
    document = study()
    for model in document["models"]:
        del model["pruning"]
    figure = perplexity_sparsity(document)
    assert figure.axes[0].get_xlabel() == "removed (% of all parameters, zero or gone)"
    assert sorted({round(model.removed, 9) for model in lineage(document).values()}) == [0.0, 0.24, 0.4]


def test_costs_are_told_from_forecasts(study):
    document = study(groups=["perplexity"])
    (axes,) = quality_bytes(document).axes
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata()) == 1]
    packed = sorted(model["bytes_if_packed"] / (1 << 20) for model in document["models"][1:])
    assert sorted(float(line.get_xdata()[0]) for line in hollow) == pytest.approx(packed)
    assert {"if packed (forecast)", "not beaten in both"} <= {text.get_text() for text in axes.get_legend().get_texts()}


def test_speed_has_bars_both_ways_and_a_mean_over_tasks(study):
    first, second = quality_speed(study()).axes
    assert second.get_ylabel() == "mean score of 2 tasks, higher is better"
    assert all(container.has_xerr and container.has_yerr for axes in (first, second) for container in axes.containers)
    assert "decode rate (tokens/s)" in first.get_xlabel()


def test_tasks_are_rows_of_models_by_scale(study):
    document = study()
    told = {"name": "translation", "task": "multi30k"}
    document["results"].append(
        Result("dense", "t", Measurement("bleu", 20.0, "", (19.0, 21.0), protocol=told)).as_dict()
    )
    shares, points = tasks(document).axes
    assert [label.get_text() for label in shares.get_yticklabels()] == ["sst2\naccuracy", "squad\nexact match"]
    assert (shares.get_xlabel(), points.get_xlabel()) == ("score (0 to 1)", "score (0 to 100)")
    assert len(shares.containers) == 5


def test_growth_says_its_exponent_and_draws_its_points(study):
    (axes,) = growth(study()).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "dense\nexponent 1.50 (1.40 to 1.60)" in labels
    line, _, _ = axes.containers[0]
    assert list(line.get_ydata()) == pytest.approx([0.1 * x**1.5 for x in (16, 32, 64, 128)])  # milliseconds


def test_latency_ends_at_all_of_the_requests(study):
    figure = latency(study())
    assert [axes.get_xlabel().split("\n")[0] for axes in figure.axes] == ["TTFT (ms)", "TPOT (ms)", "ITL (ms)"]
    for axes in figure.axes:
        for line in axes.lines:
            shares = list(line.get_ydata())
            assert shares[0] == 0 and shares[-1] == 100 and all(low <= high for low, high in pairwise(shares))


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=12), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_front_is_what_nothing_beats(spots, cheaper_is_lower, higher_is_better):
    def beats(one, other):
        one, other = ([float(f"{number:.3g}") for number in spot] for spot in (one, other))
        cost = one[0] - other[0] if cheaper_is_lower else other[0] - one[0]
        quality = other[1] - one[1] if higher_is_better else one[1] - other[1]
        return cost <= 0 and quality <= 0 and (cost < 0 or quality < 0)

    kept = front(spots, cheaper_is_lower, higher_is_better)
    expected = {at for at, spot in enumerate(spots) if not any(beats(other, spot) for other in spots)}
    assert set(kept) == expected and kept


def test_labels_meet_neither_each_other_nor_the_marks():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figure, (axes,) = canvas()
    spots = [(1 + at % 3 / 50, 1 + at // 3 / 50, f"model {at}") for at in range(9)]
    axes.plot([0, 2], [0, 2], linestyle="none")
    place_labels(axes, spots)
    agg = FigureCanvasAgg(figure)
    agg.draw()
    boxes = [Text.get_window_extent(note, agg.get_renderer()) for note in axes.texts]
    assert len(boxes) == 9
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])
    marks = [axes.transData.transform(spot[:2]) for spot in spots]
    assert not any(box.contains(*mark) for box in boxes for mark in marks)


def test_the_first_fifty_six_lines_all_look_different():
    assert len({tuple(look(at).values()) for at in range(56)}) == 56


def test_a_plot_without_a_pruned_model_is_not_drawn(study):
    with pytest.raises(Undrawable, match="no pruned model"):
        perplexity_sparsity(study(methods=()))


def test_headings_tell_apart_what_one_model_has_twice():
    def result(**protocol):
        return Result("a", "g", Measurement("ttft", 1.0, "s", protocol=protocol))

    short, long = {"name": "race", "batch": 1}, {"name": "race", "batch": 8}
    assert headings([result(**short), result(**long)]) == ["TTFT (batch 1)", "TTFT (batch 8)"]
    assert headings([result(**short)]) == ["TTFT"]
    assert headings([result(**short, task="sst2")]) == ["sst2: TTFT"]


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        ("f1[positive]_difference", "F1 difference (positive)"),
        ("decode_speedup[batch=8]", "decode speedup (batch 8)"),
        ("nonzero_parameters", "non-zero parameters"),
        ("accuracy[Sci/Tech]", "accuracy (Sci/Tech)"),
    ],
)
def test_a_figure_is_titled_with_the_part_it_is_of(metric, shown):
    assert title(metric, first=False) == shown


def test_differences_by_class_are_counted_but_not_listed(study):
    document = study()
    told = {"name": "qa", "task": "sst2"}
    parts = [Measurement(f"f1[{at}]_difference", 0.1, "", (0.05, 0.2), protocol=told) for at in range(3)]
    test = PairedTest("paired bootstrap", 0.01, 0.1)
    document["results"] += [Result("wanda-30", "tasks", part, "dense", test).as_dict() for part in parts]
    report = markdown(document)
    assert "F1 difference (0)" not in report and "In results.json: 3 more differences" in report
    assert in_words(Result("wanda-30", "tasks", parts[0], "dense", test)) == "higher"


def test_a_recipe_is_named_by_what_is_not_usual():
    assert recipe_name({"method": "wanda", "pattern": "unstructured", "solver": "none"}) == "wanda"
    assert recipe_name({"method": "obs", "pattern": "2:4", "solver": "sparsegpt"}) == "obs, 2:4, sparsegpt"
    assert recipe_name({}) is None
