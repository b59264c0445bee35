"""What pretraining trains on and what it keeps back, its shapes, and the record of a run."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.errors import RequestError
from training import pretrain as pretraining
from training.architecture import SHAPES, new_model
from training.corpus import Corpus
from training.loop import TrainingConfig


def corpus_of(tokens):
    corpus = Corpus.__new__(Corpus)
    corpus.tokens = np.arange(tokens, dtype="<u2")
    return corpus


@pytest.mark.parametrize("held_out", [0, 1, 5])
def test_what_is_held_out_is_never_trained_on(held_out):
    corpus = corpus_of(203)
    kept_back = corpus.held_out(10, held_out)
    stream = corpus.windows(10, seed=1, held_out=held_out)
    first, second = ([next(stream) for _ in range(20 - held_out)] for _ in range(2))
    targets = np.sort(np.concatenate([window[1:] for window in first + kept_back]))
    assert np.array_equal(targets, np.arange(1, 201))
    assert len(kept_back) == held_out and all(len(window) == 11 for window in kept_back)
    assert {window[0] for window in second} == {window[0] for window in first}


def test_a_corpus_with_nothing_left_to_train_on_is_refused():
    with pytest.raises(RequestError, match="5 held out windows"):
        next(corpus_of(51).windows(10, seed=0, held_out=5))


@pytest.mark.parametrize(("shape", "parameters"), [("6M", 5_770_496), ("20M", 20e6)])
def test_shapes_are_named_by_their_parameters(shape, parameters):
    tokenizer = SimpleNamespace(bos_token_id=0, eos_token_id=0, pad_token_id=1)
    tokenizer = type("Tokenizer", (), {"__len__": lambda self: 4096, **vars(tokenizer)})()
    with torch.device("meta"):
        model = new_model(tokenizer, shape)
    model.tie_weights()  # which transformers 5.0 leaves out where there are no numbers
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(parameters, rel=0.05)
    assert model.config.head_dim * model.config.num_attention_heads == model.config.hidden_size


def test_weights_that_write_to_the_residual_stream_start_smaller(tiny_tokenizer):
    model = new_model(tiny_tokenizer, "6M", context=64)
    block = model.model.layers[3]
    assert block.self_attn.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for projection in (block.self_attn.o_proj, block.mlp.down_proj):
        assert projection.weight.std().item() == pytest.approx(0.02 / math.sqrt(12), rel=0.05)
    again = new_model(tiny_tokenizer, "6M", context=64)
    assert torch.equal(again.model.embed_tokens.weight, model.model.embed_tokens.weight)


def test_an_unknown_shape_is_refused(tiny_tokenizer):
    with pytest.raises(RequestError, match=", ".join(SHAPES)):
        new_model(tiny_tokenizer, "7B")


def test_a_missing_plot_library_is_told_before_the_training(tiny_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(RequestError, match="pip install -r requirements-training.txt"):
        pretraining.pretrain(corpus_of(1000), tmp_path / "out", TrainingConfig(tokens=100))
    assert list(tmp_path.iterdir()) == []
