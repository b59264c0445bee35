"""Several results files become one document, or are refused by name where they were measured differently."""

import pytest

from evals.reporting.merge import Incomparable, find_sources, merge
from evals.runs.results import validate, write_results
from models.errors import RequestError


@pytest.fixture
def merged(study, tmp_path):
    """Writes a study a folder, a, b, c, of the options given, and merges them: `merged({}, {"length": 256})`."""

    def run(*options, groups=()):
        for name, given in zip("abc", options, strict=False):
            write_results(tmp_path / name, study(**given))
        return merge(find_sources([tmp_path]), groups)

    return run


def test_one_file_stays_what_it_is(study, tmp_path):
    write_results(tmp_path, study())
    assert merge(find_sources([tmp_path / "results.json"])) == study()


def test_files_of_one_protocol_come_together(merged):
    document = merged({"methods": ("wanda",)}, {"methods": ("magnitude",)})
    validate(document, "merged")
    assert [model["id"] for model in document["models"]] == [
        "dense", "wanda-30", "wanda-50", "magnitude-30", "magnitude-50",
    ]  # fmt: skip
    perplexities = [entry["model"] for entry in document["results"] if entry["metric"] == "perplexity"]
    assert sorted(perplexities) == sorted(model["id"] for model in document["models"])
    assert [source["file"].split("/")[-2] for source in document["sources"]] == ["a", "b"]
    assert document["notes"] == []  # the same figures twice are nothing to tell


def test_a_model_that_was_measured_again_keeps_its_first_figures_and_it_is_said(study, tmp_path):
    for name, factor in (("a", 1.0), ("b", 1.01)):
        document = study()
        for entry in document["results"]:
            if entry["model"] == "dense" and entry["metric"] == "perplexity":
                first = entry["value"]
                entry["value"] *= factor
        write_results(tmp_path / name, document)
    found = merge(find_sources([tmp_path]))
    assert "dense was measured again in b" in " ".join(found["notes"])
    kept = [e["value"] for e in found["results"] if e["model"] == "dense" and e["metric"] == "perplexity"]
    assert kept == [first]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"length": 256}, "perplexity .*\\(length 256 against 512"),
        ({"text": "ffff"}, "text SHA-256 ffff against aaaa"),
        ({"dtype": "bfloat16"}, "dtype bfloat16 against float32"),
        ({"protocol": "hf-stride"}, "name hf-stride against gptq"),
        ({"tokens": "eeee"}, "tokens SHA-256 eeee against cccc"),
        ({"task": "ffff"}, "sst2: accuracy .*\\(task SHA-256 ffff against bbbb"),
        ({"cpu": "Another CPU"}, "decode_rate .*\\(cpu Another CPU against Some CPU"),
    ],
)
def test_another_protocol_is_refused_by_file_and_difference(merged, tmp_path, options, told):
    with pytest.raises(Incomparable, match=told) as refusal:
        merged({}, options)
    line = str(refusal.value)
    assert line.startswith(f"{tmp_path / 'b' / 'results.json'} cannot be compared with {tmp_path / 'a'}")
    assert "\n" not in line and refusal.value.exit_code == 2


def test_a_quick_run_is_not_compared_with_a_whole_one(study, tmp_path):
    quick = study() | {"settings": {"quick": True}}
    write_results(tmp_path / "a", study())
    write_results(tmp_path / "b", quick)
    with pytest.raises(Incomparable, match="quick True against False"):
        merge(find_sources([tmp_path]))


def test_only_what_the_machine_bears_on_asks_for_equal_machines(merged):
    document = merged({}, {"cpu": "Another CPU", "methods": ("obs",)}, groups=["perplexity", "tasks"])
    assert {entry["group"] for entry in document["results"]} == {"perplexity", "tasks"}
    assert "obs-50" in {model["id"] for model in document["models"]}


def test_how_a_measurement_went_is_no_protocol(study, tmp_path):
    for name, load in (("a", 0.1), ("b", 7.0)):
        document = study()
        for entry in document["results"]:
            entry["protocol"] |= {"load_before": load, "details": {}, "rounds_disturbed": round(load)}
        write_results(tmp_path / name, document)
    assert merge(find_sources([tmp_path]))["sources"][1]["file"].endswith("b/results.json")


def test_files_that_share_one_of_several_protocols_are_comparable(study, tmp_path):
    both = study(groups=["perplexity"])
    both["results"] += study(groups=["perplexity"], protocol="hf-stride")["results"]
    write_results(tmp_path / "a", both)
    write_results(tmp_path / "b", study(groups=["perplexity"], protocol="hf-stride", methods=("obs",)))
    names = [entry["protocol"]["name"] for entry in merge(find_sources([tmp_path]))["results"]]
    assert names.count("gptq") == len(both["results"]) / 2 < names.count("hf-stride")


def test_other_tokenizers_and_several_baselines_are_kept_apart(merged):
    document = merged({}, {"dense": "other", "methods": ("obs",), "vocabulary": 999, "tokens": "eeee"})
    baselines = {entry["model"]: entry["baseline"] for entry in document["results"] if entry["baseline"]}
    assert baselines["obs-30"] == "other" and baselines["wanda-30"] == "dense"
    assert not document["notes"]


def test_two_models_of_one_name_get_the_labels_of_their_files(merged):
    document = merged({"methods": ("wanda",)}, {"methods": ("wanda",), "revision": "sha256:2"})
    names = [model["id"] for model in document["models"]]
    assert "wanda-30 (a)" in names and "wanda-30 (b)" in names and len(names) == 6
    assert {entry["baseline"] for entry in document["results"]} == {None, "dense (a)", "dense (b)"}


def test_what_is_not_there_is_said(merged, tmp_path):
    with pytest.raises(RequestError, match="'latency'.*perplexity, speed, memory, growth, tasks"):
        merged({}, groups=["latency"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no results.json in or below .*empty"):
        find_sources([tmp_path / "empty"])
    with pytest.raises(RequestError, match="nowhere does not exist"):
        find_sources([tmp_path / "nowhere"])
    (tmp_path / "empty" / "results.json").write_text('{"results": {}}')
    with pytest.raises(RequestError, match="empty/results.json lacks 'schema_version'"):
        find_sources([tmp_path])


def test_one_file_named_twice_counts_once(study, tmp_path):
    write_results(tmp_path / "a", study())
    assert len(find_sources([tmp_path, tmp_path / "a", tmp_path / "a" / "results.json"])) == 1
