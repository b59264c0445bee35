"""The tasks that are answered by writing: their files, their figures, and whole runs of them."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from evals import registry, task
from evals.asking.writing import Written
from evals.judging.answering import stops
from evals.judging.entities import as_listed
from evals.metrics import entities as entities_metric
from evals.metrics import qa as qa_metric
from evals.rows.rows import read_rows
from evals.runs.run import evaluate_models
from evals.trial import Trial
from models.console.progress import silent
from models.errors import RequestError
from training.formats import UNANSWERABLE, question_prompt

DATA = Path("/work/shared/data")
TASKS = {
    "squad": "qa",
    "squad2": "qa",
    "questions_en": "qa",
    "cmrc2018": "qa",
    "multi30k_en_de": "translation",
    "tatoeba_en_zh": "translation",
    "dialogsum": "summarisation",
    "wikiann": "entities",
    "continuations": "generation",
}


class Scripted:
    """ModelPool whose models write what a table says for each prompt."""

    def __init__(self, **models):
        self.models, self.asked = models, []
        self.names = list(models)
        self.baseline, *self.others = self.names

    def client(self, name, answers):
        def write(prompts, max_new_tokens, stop, progress):
            self.asked += prompts
            return [Written(self.models[name](prompt), 1, "stop", dropped=int("cut" in prompt)) for prompt in prompts]

        return SimpleNamespace(name=name, write=write)


def measured(chosen, pool, source=None):
    """The values of a task by (model, figure), and the trial."""
    trial = Trial(pool, None, False, 0, silent, chosen=[chosen], source=source)
    results = list(registry.find(chosen.metric).measure(trial))
    return {(result.model, result.measurement.metric): result.measurement for result in results}, trial


def written_task(tmp_path, rows, **entries):
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    entries = {"summary": "x", "data": {"file": "rows.jsonl"}, "max_new_tokens": 5} | entries
    (tmp_path / "own.yaml").write_text(json.dumps(entries), encoding="utf-8")
    return task.find(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize(("name", "metric"), TASKS.items())
def test_every_file_is_a_task_whose_prompts_end_where_an_answer_begins(name, metric):
    found = task.find(name)
    assert found.metric == metric and found.option("max_new_tokens") > 0
    assert stops(found) == ([] if name == "continuations" else ["\n"])
    if not (found.is_embedded or DATA.is_dir()):
        pytest.skip("the public data sets are not here")
    rows = found.rows(DATA, most=5)
    judge = registry.find(metric).measure.__globals__["judge"]
    for row in rows:
        prompt = found.prompt_of(row)
        assert prompt == prompt.rstrip() and "{" not in prompt.replace(str(row), "")
        statistics = judge(found, row, " rubbish | Persons: ;; \ufffd")
        assert all(isinstance(value, float) for values in statistics.values() for value in values)


def test_questions_are_asked_in_the_form_that_the_embedded_model_was_taught():
    row = {"context": "A city lies here.", "question": "What lies here?", "answers": []}
    for name in ("squad", "squad2", "questions_en"):
        assert task.find(name).prompt_of(row) == question_prompt(row["context"], row["question"])
    assert task.find("squad2").option("no_answer") == UNANSWERABLE


def test_a_question_row_is_of_one_line_each(tmp_path):
    asked = {"id": "1", "question": " Which\n city? ", "answers": [{"text": "Rome"}]}
    document = {"data": [{"paragraphs": [{"context": "Rome.\n\nAnd  Bari.", "qas": [asked]}]}]}
    (tmp_path / "dev.json").write_text(json.dumps(document), encoding="utf-8")
    (row,) = read_rows(tmp_path / "dev.json", "squad")
    assert (row["context"], row["question"]) == ("Rome. And Bari.", "Which city?")


def test_squad_2_is_told_apart_by_whether_there_is_an_answer(tmp_path):
    answers = {"a": ["Rome", "the city of Rome"], "b": ["Bari"], "c": [], "d": []}
    rows = [{"question": key, "answers": some} for key, some in answers.items()]
    own = written_task(tmp_path, rows, metric="qa", prompt="{question}", no_answer="unanswerable")
    said = {"a": " city of Rome", "b": " unanswerable", "c": " Unanswerable.", "d": " Oslo"}
    values, trial = measured(own, Scripted(dense=said.get, pruned=lambda prompt: " Rome"), tmp_path)
    expected = {
        "exact_match": 0.5, "f1": 0.5,
        "has_answer_exact_match": 0.5, "has_answer_f1": 0.5, "no_answer_exact_match": 0.5, "no_answer_f1": 0.5,
    }  # fmt: skip
    assert {name: values["dense", name].value for name in expected} == expected
    assert values["pruned", "has_answer_exact_match"].value == 0.5
    assert values["pruned", "no_answer_f1"].value == 0
    assert values["pruned", "exact_match_difference"].value == pytest.approx(0.25 - 0.5)
    assert values["pruned", "flip_rate"].value == 1
    assert values["dense", "f1"].protocol["definition"] == "SQuAD 2.0"
    assert [sample.target for sample in trial.samples["dense", "own"]] == list(answers.values())


def test_chinese_answers_get_the_chinese_definition(tmp_path):
    rows = [{"question": "谁", "answers": ["光荣公司"]}]
    own = written_task(tmp_path, rows, metric="qa", prompt="{question}", language="zh")
    values, _ = measured(own, Scripted(dense=lambda prompt: "《光荣公司》。"), tmp_path)
    assert values["dense", "exact_match"].value == 1 and values["dense", "f1"].value == 1
    assert values["dense", "f1"].protocol["definition"] == "CMRC 2018"


def test_answers_of_a_hub_row_are_found():
    row = {"answers": {"text": ["Rome"], "answer_start": [3]}}
    assert qa_metric.target(task.find("squad"), row) == ["Rome"]


def test_translations_get_the_corpus_scores_and_signatures_of_sacrebleu(tmp_path):
    sacrebleu = pytest.importorskip("sacrebleu")
    pairs = {"a": "Zwei Männer reden vor dem Haus.", "b": "Ein Hund läuft über das Feld."}
    rows = [{"en": source, "de": target} for source, target in pairs.items()]
    own = written_task(tmp_path, rows, metric="translation", prompt="{en}", language="de", references=["de"])
    said = {"a": " Zwei Männer reden im Haus.", "b": " Ein Hund läuft über Felder."}
    values, _ = measured(own, Scripted(dense=said.get), tmp_path)
    texts = [text.strip() for text in said.values()]
    expected = sacrebleu.corpus_bleu(texts, [list(pairs.values())])
    assert values["dense", "bleu"].value == pytest.approx(expected.score, abs=1e-6)
    assert values["dense", "chrf"].value == pytest.approx(
        sacrebleu.corpus_chrf(texts, [list(pairs.values())]).score, abs=1e-6
    )
    assert values["dense", "bleu"].protocol["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a")


def test_summaries_count_by_their_best_reference(tmp_path):
    pytest.importorskip("rouge_score")
    rows = [{"dialogue": "x", "one": "He buys apples.", "two": "She sleeps."}]
    own = written_task(
        tmp_path, rows, metric="summarisation", prompt="{dialogue}", language="en", references=["one", "two"]
    )
    values, _ = measured(own, Scripted(dense=lambda prompt: " She sleeps."), tmp_path)
    assert values["dense", "rouge1"].value == values["dense", "rougeLsum"].value == 1


def test_entities_are_scored_over_all_sentences(tmp_path):
    (tmp_path / "test.conll").write_text(
        "en:Ada\tB-PER\nen:in\tO\nen:Rome\tB-LOC\n\nen:Oslo\tB-LOC\n", encoding="utf-8"
    )
    own = written_task(
        tmp_path, [], metric="entities", prompt="{sentence}", types={"PER": "Persons", "LOC": "Locations"},
        data={"file": "test.conll", "layout": "conll"},
    )  # fmt: skip
    said = {"Ada in Rome": " Persons: Ada; Rome | Locations: none", "Oslo": " Locations: Oslo"}
    values, trial = measured(own, Scripted(dense=said.get), tmp_path)
    assert values["dense", "precision"].value == pytest.approx(2 / 3)
    assert values["dense", "recall"].value == pytest.approx(2 / 3)
    assert values["dense", "f1"].value == pytest.approx(2 / 3)
    targets = [sample.target for sample in trial.samples["dense", "own"]]
    assert targets == [[("PER", "Ada"), ("LOC", "Rome")], [("LOC", "Oslo")]]


def test_the_examples_of_the_entity_prompt_have_the_form_that_is_read():
    wikiann = task.find("wikiann")
    shown = [line.removeprefix("Entities: ") for line in wikiann.prompt.splitlines() if line.startswith("Entities: ")]
    assert len(shown) == 2
    for line in shown:
        read = list(entities_metric.scores.listed(line, wikiann.option("types")))
        assert read and as_listed(read, wikiann.option("types")) == line


def test_open_texts_are_counted(tmp_path):
    own = written_task(tmp_path, [{"text": "a"}, {"text": "b"}], metric="generation", prompt="{text}", stop=[])
    said = {"a": " the cat the cat the cat", "b": ""}
    values, _ = measured(own, Scripted(dense=said.get), tmp_path)
    assert values["dense", "distinct_1"].value == pytest.approx(2 / 6)
    assert values["dense", "seq_rep_4"].value == pytest.approx(1 / 3)
    assert values["dense", "length"].value == 3 and values["dense", "length"].unit == "words"
    assert values["dense", "distinct_1"].protocol["stop"] == []


def test_cut_prompts_are_told(tmp_path):
    own = written_task(tmp_path, [{"text": "cut"}, {"text": "b"}], metric="generation", prompt="{text}")
    _, trial = measured(own, Scripted(dense=lambda prompt: "x"), tmp_path)
    assert len(trial.notes) == 1 and "dense, own: 1 of 2 prompts" in trial.notes[0]


@pytest.mark.parametrize(("metric", "package"), [("translation", "sacrebleu"), ("summarisation", "rouge_score")])
def test_a_missing_library_is_told_before_anything_is_written(tmp_path, monkeypatch, metric, package):
    from evals.judging import summaries, translation

    for name in (package, "sacrebleu.metrics", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, name, None)
    translation._metrics.cache_clear()
    summaries._scorer.cache_clear()
    own = written_task(tmp_path, [{"a": "x"}], metric=metric, prompt="{a}", language="nl", references=["a"])
    pool = Scripted(dense=str)
    with pytest.raises(RequestError, match=f"{package}: pip install -r requirements.txt"):
        measured(own, pool, tmp_path)
    assert pool.asked == []


def test_a_task_without_an_entry_that_its_metric_needs_is_refused(tmp_path):
    own = written_task(tmp_path, [{"a": "x", "answers": ["x"]}], metric="translation", prompt="{a}")
    with pytest.raises(RequestError, match="lacks 'language'"):
        measured(own, Scripted(dense=str), tmp_path)


def test_a_run_of_real_models_on_what_ships(tiny_folder, tmp_path):
    dense, pruned = str(tiny_folder("llama")), str(tiny_folder("llama", seed=1))
    options = dict(tasks=["questions_en", "continuations"], limit=4, cache=None, device="cpu")
    document = evaluate_models([dense, pruned], **options)
    found = {(result["model"], result["group"], result["metric"]): result for result in document["results"]}
    for model in (dense, pruned):
        assert 0 <= found[model, "qa", "f1"]["value"] <= 1 and found[model, "qa", "f1"]["n"] == 4
        assert found[model, "generation", "length"]["value"] > 0
    assert found[pruned, "generation", "distinct_2_difference"]["baseline"] == dense
    assert sum("beginnings were cut off" in note for note in document["notes"]) >= 2
