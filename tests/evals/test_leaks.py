"""A model that reads later tokens is scored by nothing: every way in refuses it in one line."""

import json

import numpy as np
import pytest
import torch
import transformers

from evals import evaluate_models
from evals.asking.cache import Cache
from evals.asking.likelihood import log_likelihoods, packs, score_choices
from evals.model_pool import ModelPool
from evals.text_losses.closeness import token_closeness
from evals.text_losses.perplexity import perplexity
from evals.text_losses.scoring import token_losses
from models import load
from models.errors import RequestError

REFUSED = "no causal model: its logits change with later tokens"
PAIRS = [([0, 5, 17, 9, 200], tail) for tail in ([7], [8, 9], [40, 41, 42])]


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    return transformers.BertLMHeadModel(
        transformers.BertConfig(
            vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
        )
    ).eval()


@pytest.fixture(scope="module")
def bert_folder(bert, tiny_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert") / "model"
    bert.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return str(folder)


def test_every_function_that_scores_refuses(bert, tiny_model, tiny_tokenizer, bert_folder):
    windows = torch.from_numpy(np.random.default_rng(0).integers(2, 320, size=(2, 20)))
    asks = [
        lambda: perplexity(load(bert_folder, dtype="float32"), "The tree bears fruit when it is pruned. " * 9),
        lambda: token_losses(bert, windows),
        lambda: token_losses(bert, windows, first=5),
        lambda: log_likelihoods(bert, PAIRS),
        lambda: packs(bert, PAIRS),
        lambda: score_choices(bert, tiny_tokenizer, "A tree is", [" good", " bad"]),
        lambda: token_closeness(tiny_model(), bert, windows),
        lambda: token_closeness(bert, tiny_model(), windows),
    ]
    for ask in asks:
        with pytest.raises(RequestError, match=REFUSED):
            ask()


@pytest.mark.parametrize("asked", [["perplexity"], ["classification"], ["memory", "perplexity"], ["closeness"]])
def test_a_run_refuses_by_the_model_s_name_and_writes_nothing(bert_folder, tiny_folder, tmp_path, asked):
    models = [str(tiny_folder()), bert_folder]
    with pytest.raises(RequestError, match=REFUSED) as refusal:
        evaluate_models(models, tmp_path / "out", metrics=asked, dtype="float32", quick=True, cache=None)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_what_scores_nothing_is_measured_all_the_same(bert_folder):
    document = evaluate_models([bert_folder], metrics=["memory"], dtype="float32", quick=True, cache=None)
    assert document["results"]


def test_the_verdict_is_kept_with_the_answers_and_figures_of_before_are_not_believed(
    bert_folder, tmp_path, monkeypatch
):
    answers = Cache(tmp_path / "answers.sqlite")
    pool = ModelPool([bert_folder], dtype="float32")
    asked = ("A tree is", [" good", " bad"])
    with pytest.raises(RequestError, match=REFUSED):
        pool.client(bert_folder, answers).likelihoods([asked])
    again = ModelPool([bert_folder], dtype="float32").client(bert_folder, answers)
    monkeypatch.setattr(again, "_load", lambda: pytest.fail("loaded again"))
    with pytest.raises(RequestError, match=REFUSED):
        again.likelihoods([asked])
    answers.close()


def test_the_command_line_says_so_with_exit_code_2(run_cli, bert_folder, tmp_path):
    done = run_cli(
        "evals", "run", bert_folder, "--quick", "--metrics", "perplexity", "--cache", "none", "--dtype", "bfloat16",
        "--json", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 2 and REFUSED in done.stderr and "Traceback" not in done.stderr
    assert not done.stdout and not (tmp_path / "out").exists()


def test_a_decoder_of_the_same_class_has_its_perplexity(bert_folder, tmp_path, tiny_tokenizer):
    config = json.loads((tmp_path.__class__(bert_folder) / "config.json").read_text()) | {"is_decoder": True}
    model = transformers.BertLMHeadModel(transformers.BertConfig(**config))
    model.save_pretrained(tmp_path / "decoder")
    tiny_tokenizer.save_pretrained(tmp_path / "decoder")
    assert perplexity(load(str(tmp_path / "decoder"), dtype="float32"), "A tree bears fruit. " * 20)[0].value > 1
