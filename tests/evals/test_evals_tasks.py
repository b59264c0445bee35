"""Tasks: their files, their rows, and what choosing among continuations counts for."""

import gzip
import json
import lzma
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals import evaluate_models, registry, task
from evals.judging import choices
from evals.judging.calibration import brier, confidence_bins, expected_calibration_error
from evals.rows import rows
from evals.runs.results import read_results
from models.errors import EspalierError, RequestError

SHARED = Path(os.environ.get("ESPALIER_DATA", Path(__file__).parents[3] / "shared" / "data"))
WORDS = {"summary": "s", "metric": "classification", "data": {"file": "x.csv"}, "prompt": "{text}:"}


@pytest.mark.parametrize("name", task.names())
def test_every_task_that_ships_is_whole(name):
    found = task.find(name)
    assert found.summary and registry.find(found.metric).tasks
    if found.metric in ("classification", "choice"):
        assert choices.figures(found)
    if found.is_embedded:
        row = found.rows()[0]
        assert found.prompt_of(row)
    elif SHARED.is_dir() and (SHARED / str(found.data["file"])).is_file():
        for row in found.rows(SHARED, 5):
            assert found.prompt_of(row)
            if found.metric in ("classification", "choice"):
                assert choices.target(found, row) < len(choices.continuations(found, row))


FILES = {
    "a.jsonl": '{"text": "café, 在", "label": 1}\n\n{"text": "b", "label": 0}\n',
    "a.csv": '\ufefftext,label\n"café, 在",1\nb,0\n',
    "a.tsv": "text\tlabel\ncafé, 在\t1\nb\t0\n",
}


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".zip"])
@pytest.mark.parametrize("name", FILES)
def test_tables_are_read_in_every_wrapping(tmp_path, name, ending):
    path, content = tmp_path / (name + ending), FILES[name].encode()
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
    else:
        path.write_bytes({"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[ending](content))
    found = rows.read_rows(path)
    assert [(row["text"], str(row["label"])) for row in found] == [("café, 在", "1"), ("b", "0")]


def test_the_other_layouts(tmp_path):
    asked = [{"id": "1", "question": "Who?", "answers": [{"text": "A"}, {"text": "A"}]}]
    squad = {"data": [{"title": "T", "paragraphs": [{"context": "A did.", "qas": asked}]}]}
    (tmp_path / "s.json").write_text(json.dumps(squad))
    (row,) = rows.read_rows(tmp_path / "s.json", "squad")
    assert (row["context"], row["answers"], row["impossible"]) == ("A did.", ["A"], False)
    (tmp_path / "n.conll").write_text("en:New\tB-LOC\nen:York\tI-LOC\n\nen::\tO\n\n")
    found = rows.read_rows(tmp_path / "n.conll", "conll")
    assert [row["words"] for row in found] == [["New", "York"], [":"]]
    assert [row["tags"] for row in found] == [["B-LOC", "I-LOC"], ["O"]]
    (tmp_path / "t.tsv").write_text('say "hi\t1\n')
    assert rows.read_rows(tmp_path / "t.tsv", columns=["text", "label"]) == [{"text": 'say "hi', "label": "1"}]
    for side, lines in (("en", "a\nb\n"), ("de", "c\nd\n"), ("fr", "e\n")):
        (tmp_path / side).write_text(lines)
    sides = [tmp_path / "en", tmp_path / "de"]
    assert rows.read_parallel(sides, ["en", "de"]) == [{"en": "a", "de": "c"}, {"en": "b", "de": "d"}]
    with pytest.raises(RequestError, match="not aligned"):
        rows.read_parallel([tmp_path / "en", tmp_path / "fr"], ["en", "fr"])


BROKEN = {
    "cut.csv.gz": (gzip.compress(b"text,label\n" * 999)[:-20], "cut off"),
    "bytes.csv": (b"text,label\n\xff,1\n", "not UTF-8"),
    "lines.jsonl": (b'{"a": 1}\n[1]\n', "line 2"),
    "short.csv": (b"text,label\nb\n", "1 columns where 2 are named"),
    "empty.csv": (b"text,label\n", "no row"),
    "odd.parquet": (b"x", "convert it"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_in_one_line(tmp_path, name):
    content, line = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=line) as error:
        rows.read_rows(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


def write_task(folder, **changes):
    entries = {name: value for name, value in (WORDS | changes).items() if value is not None}
    path = folder / "own.yaml"
    path.write_text(json.dumps(entries))  # JSON is YAML
    return path


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"prompt": None}, "is not a task: it needs"),
        ({"data": "x.csv"}, "must name a `file`"),
        ({"most": 0}, "`most` must be"),
        ({"data": {"file": "absent.csv"}}, "by --source"),
    ],
)
def test_a_task_file_that_is_wrong_is_refused(tmp_path, changes, line):
    with pytest.raises(RequestError, match=line):
        task.find(str(write_task(tmp_path, **changes))).rows(None)


def test_what_a_task_lacks_is_named(tmp_path):
    found = task.find(str(write_task(tmp_path)))
    with pytest.raises(RequestError, match="lacks 'choices'"):
        choices.figures(found)
    with pytest.raises(RequestError, match="'text'.*its rows have words"):
        found.prompt_of({"words": 1})
    (tmp_path / "bad.yaml").write_text("a: [")
    for name, line in (
        (str(tmp_path / "bad.yaml"), "not YAML"),
        ("beauty", "Unknown task"),
        ("no.yaml", "no task file"),
    ):
        with pytest.raises(RequestError, match=line):
            task.find(name)


@given(st.integers(1, 50), st.integers(1, 60))
def test_rows_are_taken_evenly(size, most):
    found = task.evenly(range(size), most)
    assert len(found) == min(size, most) and found == sorted(set(found))
    gaps = np.diff([*found, size])
    assert gaps.max() - gaps.min() <= 1


FIXED = task.Task(
    "t", "", "classification", {}, "", options={"label": "l", "choices": {"a": " x", "b": " yy", "c": " z"}}
)
FREE = task.Task("t", "", "choice", {}, "", options={"label": "l", "choices": "of"})
logs = st.lists(st.lists(st.floats(-30, -0.01), min_size=3, max_size=3), min_size=1, max_size=40)


def answers_of(values):
    return [
        {"log_likelihood": v, "norm": v / n, "bytes": v / n, "pmi": v} for v, n in zip(values, (1, 2, 1), strict=True)
    ]


@given(logs, st.data())
@settings(max_examples=40, deadline=None)
def test_the_figures_are_scikit_learns(values, data):
    from sklearn import metrics as sk

    true = [data.draw(st.integers(0, 2)) for _ in values]
    judged = [
        choices.judge(FIXED, {"l": "abc"[label]}, answers_of(each)) for label, each in zip(true, values, strict=True)
    ]
    predicted = [int(np.argmax(each)) for each in values]
    found = {
        figure.name: float(figure.value(np.sum([each[figure.name] for each in judged], axis=0), len(judged)))
        for figure in choices.figures(FIXED)
    }
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(true, predicted))
    macro = sk.precision_recall_fscore_support(true, predicted, labels=[0, 1, 2], average="macro", zero_division=0)
    by_class = sk.precision_recall_fscore_support(true, predicted, labels=[0, 1, 2], zero_division=0)
    for at, name in enumerate(("precision", "recall", "f1")):
        assert found[f"macro_{name}"] == pytest.approx(macro[at])
        assert [found[f"{name}[{label}]"] for label in ("x", "yy", "z")] == pytest.approx(list(by_class[at]))
    chances = np.exp(np.array(values) - np.logaddexp.reduce(values, axis=1)[:, None])
    assert found["brier"] == pytest.approx(((chances - np.eye(3)[true]) ** 2).sum(1).mean())


def test_normalising_by_length_changes_the_choice():
    given = answers_of([-3.0, -4.0, -9.0])
    judged = choices.judge(FIXED, {"l": "b"}, given)
    assert (judged["accuracy"], judged["accuracy_norm"]) == ([0.0], [1.0])


@pytest.mark.parametrize("label", [1, "1", "B", "b", "two"])
def test_the_right_choice_of_a_row_may_be_a_number_a_letter_or_the_text(label):
    row = {"l": label, "of": ["one", "two", "three"]}
    assert choices.target(FREE, row) == 1
    assert choices.continuations(FREE, row) == [" one", " two", " three"]


@pytest.mark.parametrize("label", [3, "D", -1])
def test_a_label_that_is_no_choice_is_refused(label):
    with pytest.raises(RequestError, match="is none of"):
        choices.target(FREE, {"l": label, "of": ["one", "two", "three"]})


def test_calibration_is_that_of_its_definition():
    sure = [[0.95, 0.05], [0.85, 0.15], [0.9, 0.1], [0.4, 0.6]]
    true = [0, 1, 0, 1]
    sums = np.sum([confidence_bins(p, t) for p, t in zip(sure, true, strict=True)], axis=0)
    # bins: (0.8, 0.9] holds 0.85 wrong and 0.9 right; (0.9, 1.0] holds 0.95 right; (0.5, 0.6] holds 0.6 right
    expected = abs(1 - 1.75) + abs(1 - 0.95) + abs(1 - 0.6)
    assert expected_calibration_error(sums) == pytest.approx(expected / 4)
    assert brier([0.4, 0.6], 1) == pytest.approx(0.32)


def test_a_table_of_ones_own_is_a_task(tmp_path, tiny_folder):
    path = tmp_path / "mine.csv"
    path.write_text(
        "id,review,stars\n" + "".join(f"{at},a tree {at},{'good' if at % 2 else 'bad'}\n" for at in range(12))
    )
    models = [str(tiny_folder(seed=seed)) for seed in (1, 2)]
    columns = {"text": "review", "label": "stars"}
    document = evaluate_models(models, tmp_path / "out", tasks=[str(path)], columns=columns, dtype="float32")
    assert document == read_results(tmp_path / "out")
    found = {(entry["model"], entry["metric"]): entry for entry in document["results"]}
    assert found[models[0], "accuracy"]["n"] == 12 and found[models[0], "accuracy"]["protocol"]["choices"] == [
        " bad",
        " good",
    ]
    assert (
        found[models[1], "accuracy_difference"]["test"]["p_holm"]
        >= found[models[1], "accuracy_difference"]["test"]["p"]
    )
    assert 0 <= found[models[1], "flip_rate"]["value"] <= 1 and found[models[1], "flip_rate"]["baseline"] == models[0]
    with pytest.raises(RequestError, match="no column 'text'.*--columns"):
        evaluate_models(models, tasks=[str(path)])


def test_a_metric_takes_the_sets_that_ship_and_one_without_says_what_it_needs(tiny_folder):
    document = evaluate_models([str(tiny_folder())], metrics=["classification"], limit=8)
    assert document["settings"]["tasks"] == ["reviews_en", "reviews_zh"]
    assert {entry["n"] for entry in document["results"] if entry["metric"] == "accuracy"} == {8}
    with pytest.raises(RequestError, match="grammar needs a task.*--tasks blimp"):
        evaluate_models([str(tiny_folder())], metrics=["grammar"])


def test_the_grammar_and_last_word_metrics_on_files_of_ones_own(tmp_path, tiny_folder):
    (tmp_path / "pairs.jsonl").write_text('{"g": "a tree", "b": "tree a", "t": "order"}\n' * 3)
    (tmp_path / "words.jsonl").write_text('{"text": "the cat sat on the wall"}\n' * 2)
    grammar = {
        "metric": "grammar",
        "data": {"file": "pairs.jsonl"},
        "prompt": "{g}",
        "good": "g",
        "bad": "b",
        "group": "t",
    }
    (tmp_path / "pairs.yaml").write_text(json.dumps({"summary": "s", "groups": ["order", "other"]} | grammar))
    last = {"summary": "s", "metric": "last_word", "data": {"file": "words.jsonl"}, "prompt": "{text}"}
    (tmp_path / "words.yaml").write_text(json.dumps(last))
    tasks = [str(tmp_path / name) for name in ("pairs.yaml", "words.yaml")]
    document = evaluate_models([str(tiny_folder())], tasks=tasks, source=tmp_path, dtype="float32")
    found = {(entry["protocol"]["task"], entry["metric"]): entry for entry in document["results"]}
    assert found["pairs", "accuracy"]["value"] == found["pairs", "accuracy[order]"]["value"] in (0, 1)
    assert ("pairs", "accuracy[other]") not in found
    assert found["words", "perplexity"]["value"] > 1 and found["words", "accuracy"]["n"] == 2


def test_the_tasks_are_listed(run_cli):
    listed = run_cli("evals", "tasks")
    assert listed.returncode == 0 and all(name in listed.stdout for name in task.names())
    entries = json.loads(run_cli("evals", "tasks", "--json").stdout)
    assert [entry["task"] for entry in entries] == task.names()


def test_rows_of_one_passage_are_one_sample_to_the_interval(tmp_path, tiny_folder):
    rows = [{"text": f"a tree {at}", "label": "good", "page": at // 6} for at in range(60)]
    (tmp_path / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries = {"summary": "s", "metric": "classification", "data": {"file": "pages.jsonl"}, "prompt": "{text}:"}
    entries |= {"label": "label", "choices": {"good": " good", "bad": " bad"}}
    for name, more in (("alone", {}), ("paged", {"cluster": "page"})):
        (tmp_path / f"{name}.yaml").write_text(json.dumps(entries | more))
    models = [str(tiny_folder(seed=seed)) for seed in (3, 4)]
    tasks = [str(tmp_path / f"{name}.yaml") for name in ("alone", "paged")]
    document = evaluate_models(models, tasks=tasks, source=tmp_path, dtype="float32")
    found = {(e["model"], e["protocol"]["task"], e["metric"]): e for e in document["results"]}
    alone, paged = (found[models[0], name, "accuracy"] for name in ("alone", "paged"))
    assert alone["value"] == pytest.approx(paged["value"]) and alone["n"] == paged["n"] == 60
    assert paged["protocol"]["cluster"] == "page" and "cluster" not in alone["protocol"]
    difference = found[models[1], "paged", "accuracy_difference"]
    assert difference["test"]["name"] == "paired bootstrap"


def test_a_metric_of_evaluate_is_measured_on_the_answers(tmp_path, tiny_folder, evaluate_offline):
    (tmp_path / "espalier_twice").mkdir()
    (tmp_path / "espalier_twice" / "espalier_twice.py").write_text(
        "import datasets\nimport evaluate\n\n\nclass Twice(evaluate.Metric):\n"
        "    def _info(self):\n"
        "        features = {'predictions': datasets.Value('int32'), 'references': datasets.Value('int32')}\n"
        "        return evaluate.MetricInfo(description='', citation='', features=datasets.Features(features))\n\n"
        "    def _compute(self, predictions, references):\n"
        "        hits = sum(p == r for p, r in zip(predictions, references))\n"
        "        return {'twice': 2.0 * hits / len(predictions)}\n"
    )
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n" + "".join(f"a tree {at},{'good' if at % 2 else 'bad'}\n" for at in range(6)))
    metric = f"evaluate:{tmp_path / 'espalier_twice'}"
    models = [str(tiny_folder(seed=seed)) for seed in (1, 2)]
    document = evaluate_models(models, metrics=["classification", metric], tasks=[str(path)], dtype="float32")
    found = {(entry["model"], entry["metric"]): entry for entry in document["results"]}
    assert found[models[0], "twice"]["value"] == pytest.approx(2 * found[models[0], "accuracy"]["value"])
    assert found[models[1], "twice_difference"]["baseline"] == models[0]
    with pytest.raises(RequestError, match="name some by --tasks"):
        evaluate_models(models, metrics=[metric])


def test_a_task_without_a_folder_reads_its_set_from_the_hub(tmp_path, monkeypatch):
    import datasets

    asked = []

    def load_dataset(name, config, split, revision):
        asked.append((name, config, split, revision))
        return datasets.Dataset.from_list([{"text": "a tree", "label": 1}, {"text": "a wall", "label": 0}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = task.find(str(write_task(tmp_path, hub="some/set@main:plain:test")))
    assert [row["text"] for row in found.rows(None)] == ["a tree", "a wall"]
    assert asked == [("some/set", "plain", "test", "main")]
    with pytest.raises(RequestError, match="needs x.csv.*--source"):
        found.rows(tmp_path)  # a folder was named: the set must be in it

    def refuse(*words, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(EspalierError, match="could not be fetched"):
        found.rows(None)
