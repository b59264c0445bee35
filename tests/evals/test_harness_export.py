"""Results and samples in lm-evaluation-harness's files: its names, its types, its hashes, and ours beside."""

import json
from hashlib import sha256

import pytest

from evals.measurement import Measurement
from evals.reporting.harness_export import export, higher_is_better, sanitized
from evals.reporting.harness_samples import sample_row
from evals.rows.samples import Sample
from evals.runs.results import (
    HARNESS_RESULTS,
    HARNESS_SAMPLE,
    InvalidResults,
    Result,
    check,
    read_results,
    write_results,
)

DATE = "2026-01-02T03-04-05"
SST2 = {"name": "classification", "task": "sst2", "rows": 2, "choices": [" negative", " positive"]}
SQUAD = {"name": "qa", "task": "squad", "rows": 1, "stop": ["\n"], "max_new_tokens": 16}


def of(model, group, metric, value, protocol, stderr=0.1, n=2):
    interval = (value - 0.2, value + 0.2) if stderr else None
    return Result(model, group, Measurement(metric, value, "", interval, stderr, n, protocol)).as_dict()


def chosen(number, label):
    scores = [{"log_likelihood": -1.5, "greedy": 1.0}, {"log_likelihood": -2.25, "greedy": 0.0}]
    statistics = {"accuracy": [float(label == 0)], "accuracy_pmi": [1.0], "mcc": [1.0, 0.0, 0.0, 0.0]}
    return Sample(number, {"sentence": "Très 好", "label": label}, f"Review {number}:", label, scores, statistics)


WRITTEN = Sample(0, {"question": "Who?"}, "Who?", ["me", "I"], "It is me", {"f1": [0.5]})


@pytest.fixture
def exported(study, tmp_path):
    """A folder with the files of two models, and the document that export gave back."""
    document = study(methods=("wanda",), groups=["perplexity", "speed", "memory"])
    samples = {}
    for model in ("dense", "wanda-50"):
        document["results"] += [
            of(model, "classification", "accuracy", 0.5, SST2),
            of(model, "classification", "accuracy_pmi", 1.0, SST2, stderr=None),
            of(model, "classification", "f1[Sci, Tech]", 0.25, SST2),
            of(model, "classification", "brier", 0.25, SST2),
            of(model, "qa", "f1", 0.5, SQUAD, n=1),
        ]
        samples |= {(model, "sst2"): [chosen(0, 0), chosen(1, 1)], (model, "squad"): [WRITTEN]}
    difference = Measurement("accuracy_difference", 0.0, "", (-0.1, 0.1), protocol=SST2)
    document["results"].append(Result("wanda-50", "classification", difference, "dense").as_dict())
    return tmp_path, export(tmp_path, document, samples)


def test_the_files_have_the_harness_s_names_and_the_document_knows_them(exported):
    out, document = exported
    assert (out / "wanda-50" / f"results_{DATE}.json").is_file()
    assert (out / "dense" / f"samples_sst2_{DATE}.jsonl").is_file()
    assert all((out / name).is_file() for name in document["harness"])
    assert sorted(document["harness"]) == sorted(
        file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()
    )
    write_results(out, document)
    entries = [Result.from_dict(entry) for entry in read_results(out)["results"]]
    assert {entry.samples for entry in entries if entry.model == "dense" and entry.task == "squad"} == {
        f"dense/samples_squad_{DATE}.jsonl"
    }
    assert {entry.samples for entry in entries if entry.task is None or entry.baseline} == {None}


def test_results_have_its_keys_and_ours(exported):
    out, document = exported
    found = json.loads((out / "wanda-50" / f"results_{DATE}.json").read_text())
    check(found, HARNESS_RESULTS, "results")
    assert found["results"]["sst2"] == {
        "name": "sst2", "alias": "sst2", "sample_len": 2, "acc,none": 0.5, "acc_stderr,none": 0.1,
        "acc_mutual_info,none": 1.0, "acc_mutual_info_stderr,none": "N/A", "f1[Sci; Tech],none": 0.25,
        "f1[Sci; Tech]_stderr,none": 0.1, "brier_score,none": 0.25, "brier_score_stderr,none": 0.1,
    }  # fmt: skip
    assert found["results"]["prose_gptq"]["bits_per_byte,none"] == pytest.approx(2.25)
    assert found["higher_is_better"]["sst2"]["acc"] and not found["higher_is_better"]["sst2"]["brier_score"]
    assert not found["higher_is_better"]["prose_gptq"]["perplexity"]
    assert found["n-samples"]["sst2"] == {"original": 2, "effective": 2} and found["n-shot"]["squad"] == 0
    assert found["configs"]["squad"]["output_type"] == "generate_until"
    assert found["config"]["model_num_parameters"] == 1000 and found["config"]["model_args"]["pretrained"] == "wanda-50"
    assert found["model_name"] == found["model_name_sanitized"] == "wanda-50" and found["date"] == 1767323045.0
    assert found["transformers_version"] == "5.1" and found["schema_version"] == 1
    assert [entry["metric"] for entry in found["paired"]] == ["accuracy_difference"]
    assert {entry["metric"] for entry in found["speed"]} == {"decode_rate", "ttft", "decode_speedup"}
    assert [entry["model"] for entry in found["memory"]] == ["wanda-50"]
    assert found["pruning"]["method"] == "wanda" and found["environment"] == document["environment"]


def test_one_hash_for_a_task_that_two_models_were_asked_alike(exported):
    out, _ = exported
    hashes = [
        json.loads((out / name / f"results_{DATE}.json").read_text())["task_hashes"] for name in ("dense", "wanda-50")
    ]
    assert hashes[0] == hashes[1] and hashes[0].keys() == {"sst2", "squad"}
    lines = [json.loads(line) for line in (out / "dense" / f"samples_sst2_{DATE}.jsonl").read_text().splitlines()]
    told = "".join(line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines)
    assert hashes[0]["sst2"] == sha256(told.encode()).hexdigest()


def test_a_choice_is_told_by_likelihoods_in_words(exported):
    out, _ = exported
    line = json.loads((out / "dense" / f"samples_sst2_{DATE}.jsonl").read_text().splitlines()[1])
    check(line, HARNESS_SAMPLE, "line")
    assert line["doc"] == {"sentence": "Très 好", "label": 1} and line["target"] == "1"
    assert line["arguments"] == {
        "gen_args_0": {"arg_0": "Review 1:", "arg_1": " negative"},
        "gen_args_1": {"arg_0": "Review 1:", "arg_1": " positive"},
    }
    assert line["filtered_resps"] == [["-1.5", "True"], ["-2.25", "False"]]
    assert line["resps"] == [[response] for response in line["filtered_resps"]]
    assert (line["acc"], line["acc_mutual_info"], line["mcc"]) == (0.0, 1.0, [1.0, 0.0, 0.0, 0.0])
    assert line["metrics"] == ["acc", "acc_mutual_info", "mcc"] and line["filter"] == "none"
    assert line["doc_hash"] == sha256(json.dumps(line["doc"], indent=2, ensure_ascii=False).encode()).hexdigest()
    assert line["prompt_hash"] == sha256(b"Review 1:").hexdigest() and line["target_hash"] == sha256(b"1").hexdigest()


def test_a_written_answer_is_told_with_how_it_was_asked(exported):
    out, _ = exported
    line = json.loads((out / "dense" / f"samples_squad_{DATE}.jsonl").read_text())
    asked = {"until": ["\n"], "max_gen_toks": 16, "do_sample": False}
    assert line["arguments"] == {"gen_args_0": {"arg_0": "Who?", "arg_1": asked}}
    assert line["resps"] == [["It is me"]] and line["filtered_resps"] == ["It is me"]
    assert json.loads(line["target"]) == ["me", "I"] and line["f1"] == 0.5


@pytest.mark.parametrize(
    ("answer", "doc", "responses", "continuations"),
    [
        ({"log_likelihood": -3.0, "greedy": 1.0}, {}, [["-3.0", "True"]], ["cat"]),  # one continuation: the target
        ([-1.0, -2.0], {}, [["-1.0", "False"], ["-2.0", "False"]], [None, None]),
        ([{"log_likelihood": -1.0, "choice": "x"}], {}, [["-1.0", "False"]], ["x"]),
        ([{"log_likelihood": -1.0}] * 2, {"choices": ["u", "v"]}, [["-1.0", "False"]] * 2, ["u", "v"]),
    ],
)
def test_every_form_of_answer_has_its_row(answer, doc, responses, continuations):
    row = sample_row(Sample(3, doc, "the", "cat", answer, {"accuracy": [1.0]}), {})
    check(row, HARNESS_SAMPLE, "row")
    assert row["filtered_resps"] == responses
    assert [each.get("arg_1") for each in row["arguments"].values()] == continuations


def test_what_breaks_the_schema_is_refused_before_anything_is_written(study, tmp_path):
    document = study(methods=(), groups=["perplexity"])
    broken = Sample(0, {}, "p", "t", "a", {"f1": [float("nan")]})
    with pytest.raises(InvalidResults, match="line 1 has nan for 'f1'"):
        export(tmp_path / "out", document, {("dense", "squad"): [broken]})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "folder"),
    [("owner/name", "owner__name"), ("/tmp/a:b", "__tmp__a__b"), ("..", "__"), (".", "__"), ("../x", "..__x")],
)
def test_a_model_s_folder_never_leaves_the_results(model, folder):
    assert sanitized(model) == folder


def test_two_models_never_share_a_folder(study, tmp_path):
    document = study(methods=(), groups=["memory"])
    document["models"] = [document["models"][0] | {"id": name} for name in ("a/b", "a:b")]
    document["results"] = []
    assert sorted({name.split("/")[0] for name in export(tmp_path, document, {})["harness"]}) == ["a__b", "a__b__2"]


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("accuracy", True),
        ("f1[x]", True),
        ("word_perplexity", False),
        ("bits_per_byte", False),
        ("ece", False),
        ("bleu", True),
    ],
)
def test_the_better_end_of_every_figure(metric, higher):
    assert higher_is_better(Result("a", "g", Measurement(metric, 1.0))) is higher
