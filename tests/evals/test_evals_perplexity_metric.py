"""The metric `perplexity` of a run: under each protocol, in pairs, and from the cache the second time."""

import json

import pytest

from evals import evaluate_models, model_pool
from evals.text_losses.data import load_text
from evals.text_losses.perplexity import perplexity
from models import load
from models.errors import RequestError


@pytest.fixture(scope="module")
def pair(tiny_folder):
    return [str(tiny_folder(seed=seed)) for seed in (0, 1)]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "documents.jsonl"
    sentence = "In the year {} the wall bore {} pears, or none. "
    documents = [sentence.format(year, year % 7) * (1 + year % 4) for year in range(1900, 1912)]
    path.write_text("\n".join(json.dumps({"text": document}) for document in documents))
    return str(path)


EXPECTED = {
    "gptq": ["perplexity", "bits_per_byte", "nll_difference", "perplexity_ratio"],
    "hf-stride": ["perplexity", "bits_per_byte", "nll_difference", "perplexity_ratio"],
    "lm-eval": [
        "word_perplexity", "byte_perplexity", "bits_per_byte",
        "bits_per_byte_difference", "word_perplexity_ratio", "byte_perplexity_ratio",
    ],
    "evaluate": ["mean_perplexity", "bits_per_byte", "nll_difference", "mean_perplexity_ratio"],
}  # fmt: skip


@pytest.mark.parametrize("protocol", EXPECTED)
def test_each_protocol_gives_its_figures_and_its_comparisons(pair, text, protocol):
    options = {"protocol": protocol, "length": 60}
    document = evaluate_models(pair, metrics=["perplexity"], data=text, dtype="float32", cache=None, options=options)
    found = {(entry["model"], entry["metric"]): entry for entry in document["results"]}
    assert list(dict.fromkeys(metric for _, metric in found)) == EXPECTED[protocol]
    alone = perplexity(load(pair[1], dtype="float32"), load_text(text), protocol, 60)
    for measured in alone:
        entry = found[pair[1], measured.metric]
        assert entry["value"] == pytest.approx(measured.value, rel=1e-6)
        assert entry["interval"] == pytest.approx(measured.interval, rel=1e-4)
        assert entry["protocol"]["name"] == protocol and entry["protocol"]["length"] == 60
        assert entry["protocol"]["windows"] == entry["n"] and entry["protocol"]["tokens_scored"] > 500


def test_without_options_the_protocol_is_gptq(pair, text):
    document = evaluate_models(pair[:1], metrics=["perplexity"], data=text, cache=None, quick=True)
    assert document["results"][0]["protocol"]["name"] == "gptq"


@pytest.mark.parametrize("protocol", ["gptq", "hf-stride", "lm-eval"])
def test_what_was_scored_once_is_not_scored_again(pair, text, protocol, tmp_path, monkeypatch):
    arguments = dict(metrics=["perplexity"], data=text, cache=tmp_path / "answers", options={"protocol": protocol})
    first = evaluate_models(pair[:1], **arguments)
    read = []
    monkeypatch.setattr("evals.text_losses.scoring.next_token_logits", lambda *given: read.append(given))
    assert evaluate_models(pair[:1], **arguments)["results"] == first["results"]
    assert read == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"protocol": "strided"}, "use one of gptq, evaluate, hf-stride, lm-eval"),
        ({"protocol": "gptq", "stride": 5}, "has no stride"),
        ({"length": 129}, "choose 2 to 128"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused_before_a_model_is_loaded(pair, text, options, line, monkeypatch):
    monkeypatch.setattr(model_pool, "load", None)
    with pytest.raises(RequestError, match=line):
        evaluate_models(pair, metrics=["perplexity"], data=text, cache=None, options=options)
