"""Metrics of Hugging Face evaluate by name, on the answers of a run."""

import pytest

from evals.integrations.hub_metrics import hub_metric, hub_results, is_hub_metric
from evals.rows.samples import Sample
from evals.runs.results import validate
from models.errors import EspalierError, RequestError

# What a script of evaluate looks like: a score of classes, and one of texts with several right answers.
SCRIPT = """
import datasets
import evaluate


class Mine(evaluate.Metric):
    def _info(self):
        kind = datasets.Value({kind!r})
        features = datasets.Features({{"predictions": kind, "references": {references}}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references{more}):
        hits = [{hit} for p, r in zip(predictions, references)]
        return {{"hits": sum(hits) / len(hits), "told": {told}, "list": [1, 2]}}
"""


@pytest.fixture
def local(evaluate_offline, tmp_path):
    """Writes a local module and returns its name on the command line: `local("mine", ...)`."""

    def write(name, kind="int64", references="kind", hit="p == r", more="", told="'words'"):
        folder = tmp_path / name
        folder.mkdir()
        filled = SCRIPT.format(kind=kind, references=references, hit=hit, more=more, told=told)
        (folder / f"{name}.py").write_text(filled)
        return f"evaluate:{folder}"

    return write


def classified(right, classes=2):
    """Samples of a classification task, right or not."""
    found = []
    for number, good in enumerate(right):
        target = number % classes
        likely = target if good else (target + 1) % classes
        scores = [{"log_likelihood": -1.0 if at == likely else -5.0} for at in range(classes)]
        found.append(Sample(number, {}, "p", target, scores))
    return found


def written(texts):
    return [Sample(number, {}, "p", ["cat", "a cat"], text) for number, text in enumerate(texts)]


def run(name, samples, notes=None):
    return hub_results(name, samples, "a", [] if notes is None else notes)


def test_figures_of_every_model_and_the_paired_difference(local):
    right = {"a": [True] * 30 + [False] * 10, "b": [True] * 20 + [False] * 20}
    results = run(local("mine"), {(model, "sst2"): classified(hits) for model, hits in right.items()})
    found = {(result.model, result.measurement.metric): result for result in results}
    assert found.keys() == {("a", "hits"), ("b", "hits"), ("b", "hits_difference")}  # words and lists are no figures
    assert found["a", "hits"].measurement.value == 0.75 and found["b", "hits"].measurement.value == 0.5
    difference = found["b", "hits_difference"]
    assert difference.baseline == "a" and difference.measurement.value == -0.25
    low, high = difference.measurement.interval
    assert -0.45 < low < -0.25 < high < -0.05
    # Ten of forty rows differ: paired, the interval is narrower than that of two samples apart.
    assert high - low < found["a", "hits"].measurement.interval[1] - found["b", "hits"].measurement.interval[0]
    assert difference.group == "evaluate:mine" and difference.task == "sst2"


def test_results_go_into_a_results_document(local, study):
    document = study(methods=(), dense="a")
    samples = {("a", "sst2"): classified([True, False, True])}
    name = local("mine")
    document["results"] += [result.as_dict() for result in run(name, samples)]
    validate(document, "document")
    assert run(name, samples) == run(name, samples)  # the same resamples each time


def test_texts_go_with_all_their_answers_or_the_first(local):
    texts = {("a", "squad"): written(["a cat", "cat", "dog", " cat "])}
    several = local("several", "string", "datasets.Sequence(kind)", "p in r")
    assert run(several, texts)[0].measurement.value == 0.75
    assert run(local("single", "string"), texts)[0].measurement.value == 0.5


def test_more_classes_than_two_are_averaged_where_the_metric_can(local):
    name = local("averaged", more=", average='binary'", told="len(average)")
    three = run(name, {("a", "t"): classified([True] * 6, classes=3)})
    two = run(name, {("a", "t"): classified([True] * 6, classes=2)})
    assert [result.measurement.value for result in three if result.measurement.metric == "told"] == [len("macro")]
    assert [result.measurement.value for result in two if result.measurement.metric == "told"] == [len("binary")]


def test_a_task_that_it_does_not_take_is_named(local):
    samples = {("a", "sst2"): classified([True, True]), ("a", "squad"): written(["cat", "dog"])}
    notes = []
    assert {result.task for result in run(local("mine"), samples, notes)} == {"sst2"}
    assert notes == ["evaluate:mine does not take the answers to squad: it was not measured there."]
    with pytest.raises(RequestError, match="does not take the answers to squad: choose other tasks"):
        run(local("other"), {("a", "squad"): samples["a", "squad"]})
    with pytest.raises(RequestError, match="--tasks"):
        run(local("third"), {})


def test_one_sample_has_no_interval(local):
    (result,) = run(local("mine"), {("a", "sst2"): classified([True])})
    assert result.measurement.value == 1.0 and result.measurement.interval is None


def test_a_name_asks_for_evaluate_by_its_beginning():
    assert is_hub_metric("evaluate:f1") and not is_hub_metric("qa")


def test_a_stranger_s_script_is_refused():
    with pytest.raises(RequestError, match="owner/metric is neither a folder nor one of evaluate's own"):
        hub_metric("evaluate:owner/metric")


def test_without_a_network_one_line_says_so(evaluate_offline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def unreachable(*arguments, **options):
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(evaluate_offline, "load", unreachable)
    with pytest.raises(EspalierError, match="The metric f1 of evaluate could not be loaded.*network") as refusal:
        hub_metric("evaluate:f1")
    assert "\n" not in str(refusal.value) and refusal.value.exit_code == 1


def test_a_broken_local_script_is_named(evaluate_offline, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.py").write_text("import nothing_that_exists_here\n")
    with pytest.raises(EspalierError, match="check its script.*nothing_that_exists_here"):
        hub_metric(f"evaluate:{tmp_path / 'broken'}")


def test_evaluate_s_own_name_is_asked_for_without_the_prefix(evaluate_offline, monkeypatch, tmp_path):
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate_offline, "load", asked.append)
    hub_metric("evaluate:f1")
    assert asked == ["f1"]


def test_answers_that_are_all_right_are_no_certainty(local):
    from evals.statistics import unseen_share

    share = -(-unseen_share(20) * 20 // 1) / 20  # of whole answers
    right = {("a", "t"): classified([True] * 20), ("b", "t"): classified([True] * 20)}
    found = {(each.model, each.measurement.metric): each.measurement for each in run(local("sure"), right)}
    assert found["a", "hits"].interval == pytest.approx((1 - share, 1)) and found["a", "hits"].stderr > 0
    assert found["b", "hits_difference"].interval == pytest.approx((-share, share))


@pytest.mark.parametrize(("text", "value"), [("a cat", 1.0), ("dog", 0.0)])
def test_texts_that_are_all_alike_are_no_certainty(local, text, value):
    name = local(f"alike_{value:.0f}", "string", "datasets.Sequence(datasets.Value('string'))", "p in r")
    (found,) = [each.measurement for each in run(name, {("a", "t"): written([text] * 12)})]
    low, high = found.interval
    assert found.value == value and low <= value <= high and high - low == pytest.approx(0.25)
