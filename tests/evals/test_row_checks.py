"""Every row of a task's data is checked before a model is asked, whatever the task: a complaint names its line."""

import json

import pytest

from evals import evaluate_models, registry, task
from evals.judging import choices
from models.errors import RequestError

GOOD = [{"text": "good film", "label": "positive"}, {"text": "bad film", "label": "negative"}]


def jsonl(path, lines):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"text": "x"}, "line 4: there is no field 'label'"),
        ({"label": "positive"}, "line 4: .* asks for 'text', and its rows have label"),
        ({"text": None, "label": "positive"}, "line 4: 'text' is null"),
        ({"text": "x", "label": None}, "line 4: 'label' is null"),
        ({"text": " ", "label": "positive"}, "line 4: 'text' is empty"),
        ({"text": "x", "label": " "}, "line 4: 'label' is empty"),
        ('{"text": "x", "label": NaN}', "line 4: 'label' is null"),
        ({"text": ["x"], "label": "positive"}, "line 4: 'text' is .*where a text is needed"),
        ({"text": "x", "label": {"name": "positive"}}, "line 4: 'label' is .*where a text is needed"),
        ('{"text": "half \\ud83d", "label": "positive"}', "line 4 holds half a character"),
        ({"text": "x", "label": "positive", "note": "a\0b"}, "line 4 holds a NUL"),
    ],
)
def test_a_faulty_row_anywhere_in_a_table_is_told_before_a_model_is_loaded(tmp_path, line, told):
    path = jsonl(tmp_path / "own.jsonl", [*GOOD, "", line])
    with pytest.raises(RequestError, match=told):
        evaluate_models(["/no/such/model"], tasks=[str(path)], limit=1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text,label\ngood, and long,positive\nbad,negative\n", "line 2: 3 columns where 2 are named; put a text"),
        ("text,label\n\ngood,positive\nbad\n", "line 4: 1 columns where 2"),
        ('text,label\n"two\nlines",positive\n"open,negative\nfine,positive\n', "line 4: no row of a table"),
        ("text,label,text\na,b,c\n", "line 1: two columns are called 'text'"),
        ("text,label\ngood,positive\n,negative\n", "line 3: 'text' is empty"),
        ("text,label\ngood,positive\nbad,\n", "line 3: 'label' is empty"),
    ],
)
def test_a_table_of_commas_is_read_as_it_was_meant_or_not_at_all(tmp_path, content, told):
    (tmp_path / "own.csv").write_text(content)
    with pytest.raises(RequestError, match=told):
        evaluate_models(["/no/such/model"], tasks=[str(tmp_path / "own.csv")])


@pytest.mark.parametrize("ending", ["", "\n", "\n\n", "\r\n  \r\n"])
def test_blank_lines_are_no_rows_and_white_space_makes_no_class(tmp_path, ending):
    path = tmp_path / "own.csv"
    path.write_text('\n text , label\n"good, truly","positive "\n\nfine, positive\nbad,negative' + ending, newline="")
    found = task.find(str(path))
    assert found.options["choices"] == {"negative": " negative", "positive": " positive"}
    assert [row["text"] for row in found.rows()] == ["good, truly", "fine", "bad"]
    assert [choices.target(found, row) for row in found.rows()] == [1, 1, 0]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1, "1", 1.0, 0], ["0", "1"]),
        ([True, "True ", False, "False"], ["False", "True"]),
        ([0.5, "0.5", 2, "2"], ["0.5", "2"]),
        (["\ufeffyes", "yes", "no\u00a0", "no"], ["no", "yes"]),
    ],
)
def test_labels_of_every_kind_have_one_name(tmp_path, labels, classes):
    found = task.find(str(jsonl(tmp_path / "own.jsonl", [{"text": "x", "label": each} for each in labels])))
    assert list(found.options["choices"]) == classes
    assert {choices.target(found, row) for row in found.rows()} == {0, 1}


KINDS = {
    "choice": (
        {"prompt": "{q}", "choices": "of", "label": "right"},
        {"q": "Which?", "of": ["one", "two"], "right": 1},
        [
            ({"of": None}, "'of' must be a list"), ({"of": ["one"]}, "two choices at least"),
            ({"of": ["one", None]}, "'of' is null"), ({"right": 2}, "'2' is none of one, two"),
            ({"right": None}, "'right' is null"), ({"right": "BC"}, "is none of"), ({"right": 0.5}, "is none of"),
            ({"q": None}, "'q' is null"),
        ],
    ),
    "qa": (
        {"prompt": "{c} {q}", "max_new_tokens": 4},
        {"c": "A wall.", "q": "What?", "answers": ["wall"]},
        [
            ({"answers": None}, "where a list of texts"), ({"answers": []}, "no answer"),
            ({"answers": ["a", None]}, "'answers' is null"), ({"answers": {"start": 1}}, "where a list of texts"),
            ({"answers": [""]}, "'answers' is empty"), ({"c": None}, "'c' is null"),
        ],
    ),
    "translation": (
        {"prompt": "{en}", "references": ["de"], "language": "de", "max_new_tokens": 4},
        {"en": "a wall", "de": "eine Mauer"},
        [({"de": None}, "'de' is null"), ({"de": ""}, "'de' is empty"), ({"de": ["x"]}, "a text is needed")],
    ),
    "summarisation": (
        {"prompt": "{text}", "references": ["s"], "language": "en", "max_new_tokens": 4},
        {"text": "a wall", "s": "wall"},
        [({"s": None}, "'s' is null"), ({"text": None}, "'text' is null")],
    ),
    "entities": (
        {"prompt": "{sentence}", "types": {"PER": "Persons"}, "max_new_tokens": 4},
        {"sentence": "Ann sleeps", "words": ["Ann", "sleeps"], "tags": ["B-PER", "O"]},
        [
            ({"tags": ["O"]}, "2 words have 1 tags"), ({"tags": ["PER", "O"]}, "'PER' is neither O nor"),
            ({"tags": None}, "where a list"), ({"words": ["Ann", None]}, "'words' is null"),
        ],
    ),
    "grammar": (
        {"prompt": "{good}", "good": "good", "bad": "bad", "group": "kind", "groups": ["a"]},
        {"good": "They sleep.", "bad": "They sleeps.", "kind": "a"},
        [
            ({"bad": None}, "'bad' is null"), ({"bad": " "}, "'bad' is empty"),
            ({"kind": None}, "'kind' is null"), ({"good": 5.5, "bad": None}, "'bad' is null"),
        ],
    ),
    "last_word": ({"prompt": "{text}"}, {"text": "a wall"}, [({"text": "wall"}, "line 3: .*no last word")]),
    "generation": ({"prompt": "{text}"}, {"text": "a wall"}, [({"text": None}, "'text' is null")]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "change", "told"),
    [(metric, change, told) for metric, (_, _, faults) in KINDS.items() for change, told in faults],
    ids=lambda value: value if isinstance(value, str) and value in KINDS else "",
)
def test_every_kind_of_task_checks_every_row(tmp_path, metric, change, told):
    entries, row, _ = KINDS[metric]
    path = jsonl(tmp_path / "rows.jsonl", [row, row, row | change])
    own = tmp_path / "own.yaml"
    own.write_text(json.dumps({"summary": "s", "metric": metric, "data": {"file": str(path)}} | entries))
    with pytest.raises(RequestError, match=told) as refusal:
        evaluate_models(["/no/such/model"], tasks=[str(own)], limit=1)
    assert "rows.jsonl, line 3" in str(refusal.value)
    found = task.find(str(own))
    found.check_rows([row, row], registry.find(metric).check)


def test_a_field_that_rows_share_and_a_field_that_is_cleaned_must_be_there(tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", [{"text": "a b", "page": 1}, {"text": "b c"}])
    own = tmp_path / "own.yaml"
    entries = {"summary": "s", "metric": "last_word", "prompt": "{text}"}
    own.write_text(json.dumps(entries | {"data": {"file": str(path)}, "cluster": "page"}))
    with pytest.raises(RequestError, match="line 2: there is no field 'page'"):
        evaluate_models(["/no/such/model"], tasks=[str(own)])
    own.write_text(json.dumps(entries | {"data": {"file": str(path), "one_line": ["page"]}}))
    with pytest.raises(RequestError, match="line 2: there is no field 'page'"):
        task.find(str(own)).rows()


def test_a_field_may_be_empty_where_the_task_says_so(tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", [{"text": ""}])
    entries = {"summary": "s", "metric": "generation", "prompt": "{text}", "data": {"file": str(path)}}
    (tmp_path / "own.yaml").write_text(json.dumps(entries | {"may_be_empty": ["text"]}))
    found = task.find(str(tmp_path / "own.yaml"))
    assert found.prompt_of(found.rows()[0]) == ""
    (tmp_path / "strict.yaml").write_text(json.dumps(entries))
    with pytest.raises(RequestError, match="line 1: 'text' is empty"):
        found = task.find(str(tmp_path / "strict.yaml"))
        found.prompt_of(found.rows()[0])


def test_rows_of_the_hub_are_named_by_their_number(monkeypatch):
    import datasets

    from evals.rows.hub_rows import hub_rows

    of_hub = datasets.Dataset.from_list([{"text": "a", "label": 1}, {"text": "b", "label": -1}])
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **options: of_hub)
    found = task.Task("t", "", "classification", {}, "{text}", options={"label": "label", "choices": {"1": " yes"}})
    with pytest.raises(RequestError, match="owner/name, row 2: the label '-1' is none of 1"):
        found.check_rows(hub_rows("owner/name"), choices.check_row)


def test_half_a_character_in_a_task_file_is_refused(tmp_path):
    (tmp_path / "own.yaml").write_text(r'{summary: s, metric: m, data: {file: x}, prompt: "\ud83d"}')
    with pytest.raises(RequestError, match=r"own\.yaml holds half a character"):
        task.find(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize("shots", [-1, "two", True, 1.5])
def test_the_number_of_examples_is_a_number(tmp_path, shots):
    with pytest.raises(RequestError, match="`shots` must be a number"):
        entries = {"summary": "s", "metric": "last_word", "prompt": "{text}", "data": {"file": "x"}, "shots": shots}
        (tmp_path / "own.yaml").write_text(json.dumps(entries))
        task.find(str(tmp_path / "own.yaml"))


def test_examples_and_rows_are_told_and_change_no_digest(tmp_path, tiny_folder):
    path = jsonl(tmp_path / "rows.jsonl", [{"text": f"a wall {at}"} for at in range(9)])
    entries = {"summary": "s", "metric": "last_word", "prompt": "a tree\n{text}", "data": {"file": str(path)}}
    (tmp_path / "own.yaml").write_text(json.dumps(entries | {"shots": 1}))
    document = evaluate_models([str(tiny_folder())], tmp_path / "out", tasks=[str(tmp_path / "own.yaml")], limit=4)
    told = document["results"][0]["protocol"]
    assert (told["shots"], told["rows"], told["rows_available"]) == (1, 4, 9)
    (harness,) = [name for name in document["harness"] if name.endswith(".json")]
    exported = json.loads((tmp_path / "out" / harness).read_text())
    assert exported["n-shot"] == {"own": 1} and exported["configs"]["own"]["num_fewshot"] == 1
    assert exported["n-samples"] == {"own": {"original": 9, "effective": 4}}
    digest = task.find(str(tmp_path / "own.yaml")).digest
    (tmp_path / "own.yaml").write_text(json.dumps(entries))
    assert task.find(str(tmp_path / "own.yaml")).digest == digest


@pytest.mark.parametrize("name", ["multi30k_en_de", "tatoeba_en_zh", "wikiann"])
def test_the_tasks_that_begin_with_two_examples_say_so(name):
    found = task.find(name)
    assert "after two examples" in found.summary and found.shots == 2
