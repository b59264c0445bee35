"""Our metrics as modules of Hugging Face evaluate: loaded from their folders, equal to the definitions they name."""

import re
import string
import subprocess
import sys
from math import exp
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.judging import squad as answers
from models import load

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "evals" / "evaluate_modules"
NAMES = sorted(folder.name for folder in MODULES.iterdir() if (folder / f"{folder.name}.py").is_file())


@pytest.fixture
def module(evaluate_offline, tmp_path):
    """Loads a module by name."""
    return lambda name: evaluate_offline.load(str(MODULES / name), cache_dir=str(tmp_path))


def test_all_load_with_no_network_from_the_project_s_folder(tmp_path):
    pytest.importorskip("evaluate")
    code = "import evaluate, sys\nfor name in sys.argv[1:]: print(evaluate.load('evals/evaluate_modules/' + name).name)"
    done = subprocess.run(
        [sys.executable, "-c", code, *NAMES],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={"PATH": "", "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1",
             "HF_EVALUATE_OFFLINE": "1", "HTTPS_PROXY": "http://127.0.0.1:1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == NAMES and len(NAMES) == 6


def official_f1(prediction, gold):
    """SQuAD's official definition, written from the paper: multiset overlap of normalised words."""

    def words(text):
        kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", kept).split()

    given, wanted = words(prediction), words(gold)
    same = sum(min(given.count(word), wanted.count(word)) for word in set(given))
    if same == 0:
        return 0.0
    precision, recall = same / len(given), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


SHORT = st.lists(st.sampled_from(["the", "Cat", "cat.", "a", "dog's", "an-other", "dog", "!"]), max_size=6).map(
    " ".join
)


@given(SHORT, st.lists(SHORT, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_squad_s_f1_is_the_official_one(prediction, golds):
    assert answers.token_f1(prediction, golds) == pytest.approx(max(official_f1(prediction, gold) for gold in golds))


def test_squad_in_percent_with_intervals(module):
    golds = [["cat"], ["the big dog", "dogs"], ["in 1912", "1912"], ["no"]]
    written = ["The cat!", "a dog", "year 1912", "yes"]
    found = module("espalier_squad").compute(
        predictions=[{"id": str(at), "prediction_text": text} for at, text in enumerate(written)],
        references=[
            {"id": str(at), "answers": {"text": g, "answer_start": [0] * len(g)}} for at, g in enumerate(golds)
        ],
    )
    expected = [max(official_f1(text, gold) for gold in some) for text, some in zip(written, golds, strict=True)]
    assert found["f1"] == pytest.approx(100 * np.mean(expected)) and found["exact_match"] == 25.0
    low, high = found["exact_match_interval"]
    assert low < 25.0 < high


def test_squad_2_takes_no_answer_for_right_where_there_is_none(module):
    asked = {
        "predictions": [{"id": "1", "prediction_text": ""}, {"id": "2", "prediction_text": "x"}],
        "references": [{"id": at, "answers": {"text": [], "answer_start": []}} for at in ("1", "2")],
    }
    assert module("espalier_squad").compute(**asked, no_answer=True)["f1"] == 50.0
    assert module("espalier_squad").compute(**asked)["f1"] == 0.0


def test_cmrc_counts_chinese_characters(module):
    found = module("espalier_cmrc").compute(
        predictions=["在花园里。", "墙"], references=[["在花园里"], ["花墙边", "树"]]
    )
    assert found["exact_match"] == 50.0 and found["f1"] == pytest.approx(75.0)  # 墙: precision 1, recall 1/3


@pytest.mark.parametrize("classes", [2, 4])
def test_classification_is_scikit_learn_s(module, classes):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(classes)
    true, given_classes = generator.integers(0, classes, size=(2, 60)).tolist()
    found = module("espalier_classification").compute(predictions=given_classes, references=true)
    macro = metrics.precision_recall_fscore_support(true, given_classes, average="macro", zero_division=0)[:3]
    expected = {
        "accuracy": metrics.accuracy_score(true, given_classes),
        "mcc": metrics.matthews_corrcoef(true, given_classes),
        **dict(zip(("macro_precision", "macro_recall", "macro_f1"), macro, strict=True)),
    }
    for number, value in enumerate(metrics.f1_score(true, given_classes, average=None, zero_division=0)):
        expected[f"f1[{number}]"] = value
    for name, value in expected.items():
        assert found[name] == pytest.approx(value)
        low, high = found[f"{name}_interval"]
        assert low <= value <= high


def test_translation_is_sacrebleu_s(module):
    sacrebleu = pytest.importorskip("sacrebleu")
    written = ["the cat sat on the mat today", "a man is riding a horse in the field", "no"]
    wanted = ["the cat sat on a mat today", "a man rides a horse in a field", "yes"]
    found = module("espalier_translation").compute(predictions=written, references=[[text] for text in wanted])
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [wanted]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [wanted]).score)
    assert "tok:13a" in found["bleu_signature"] and found["chrf_interval"][0] < found["chrf_interval"][1]


def test_summarisation_is_rouge_score_s(module):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(
        ["rouge1", "rouge2", "rougeL"], use_stemmer=True
    )
    written, wanted = ["the cats sat on a mat", "he went home"], ["a cat sits on the mat", "he was going home"]
    found = module("espalier_summarisation").compute(predictions=written, references=[[text] for text in wanted])
    for name in ("rouge1", "rouge2", "rougeL"):
        scores = [scorer.score(gold, text)[name].fmeasure for gold, text in zip(wanted, written, strict=True)]
        assert found[name] == pytest.approx(np.mean(scores))


def test_perplexity_is_that_of_the_plain_loop(module, tiny_folder):
    import torch

    folder = str(tiny_folder("llama"))
    texts = ["A tree beside a wall. " * 30, "The gardener ties the young branches. " * 20]
    found = module("espalier_perplexity").compute(predictions=texts, model=folder, dtype="float32", length=32)
    loaded = load(folder, dtype="float32")
    ids = torch.tensor(loaded.tokenizer("\n\n".join(texts))["input_ids"])
    windows = ids[: len(ids) // 32 * 32].view(-1, 32)
    with torch.inference_mode():
        losses = [float(loaded.model(input_ids=window[None], labels=window[None]).loss) for window in windows]
    assert found["perplexity"] == pytest.approx(exp(np.mean(losses)), rel=1e-5)
    assert found["protocol"]["length"] == 32 and found["protocol"]["windows"] == len(windows)
    again = module("espalier_perplexity").compute(predictions=texts, model=loaded, length=32)  # a model that is there
    assert again["perplexity"] == pytest.approx(found["perplexity"], rel=1e-6)
