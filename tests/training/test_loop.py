"""The training loop: it learns, its loss is the weighted one, and a killed run ends as an unbroken one would."""

from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models.errors import Cancelled, EspalierError, RequestError
from training.loop import TrainingConfig, token_loss, train
from training.optimizer import linear_schedule, make_optimizers

CONFIG = TrainingConfig(tokens=16 * 4 * 30, length=16, batch=4, learning_rate=5e-3, checkpoint_every=10)


def windows(seed=0):
    generator = np.random.default_rng(seed)
    while True:
        start = generator.integers(2, 200)
        yield np.arange(start, start + 17, dtype=np.int64), np.ones(16, dtype=np.float32)


def test_it_learns_to_count(tiny_model):
    model = tiny_model()
    config = replace(CONFIG, tokens=16 * 4 * 150, learning_rate=2e-2)
    record = train(model, windows(), config, record_every=10)
    assert record.losses[0][1] > 5 and record.losses[-1][1] < 1
    assert record.step == 150 and not model.training


def test_the_loss_is_the_weighted_mean(tiny_model):
    model = tiny_model()
    ids = torch.arange(2, 24).view(2, 11)
    weights = torch.rand(2, 10)
    log_probabilities = model(ids[:, :-1]).logits.log_softmax(-1)
    chosen = torch.stack([log_probabilities[b, t, ids[b, t + 1]] for b in range(2) for t in range(10)])
    expected = -(chosen * weights.flatten()).sum() / weights.sum()
    assert token_loss(model, ids, weights).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_killed_run_goes_on_to_the_same_weights(tiny_model, tmp_path):
    unbroken = tiny_model()
    train(unbroken, windows(), CONFIG)
    checkpoint = tmp_path / "run.checkpoint"

    def kill(fraction, message):
        if fraction > 0.7:
            raise Cancelled()

    with pytest.raises(Cancelled):
        train(tiny_model(), windows(), CONFIG, checkpoint, kill)
    assert checkpoint.exists()
    resumed = tiny_model(seed=9)
    record = train(resumed, windows(), CONFIG, checkpoint)
    assert record.step == 30 and not checkpoint.exists()
    for one, two in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_checkpoint_of_other_options_is_refused(tiny_model, tmp_path):
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(Cancelled):
        train(tiny_model(), windows(), CONFIG, checkpoint, lambda f, m: cancel_after(f, 0.5))
    with pytest.raises(RequestError, match="other options"):
        train(tiny_model(), windows(), replace(CONFIG, learning_rate=1e-3), checkpoint)


def cancel_after(fraction, limit):
    if fraction > limit:
        raise Cancelled()


def test_a_loss_that_is_no_number_stops_the_run(tiny_model):
    model = tiny_model()
    model.lm_head.weight.data.fill_(float("inf"))
    with pytest.raises(EspalierError, match="lower --learning-rate"):
        train(model, windows(), CONFIG)


def test_every_parameter_has_one_optimizer(tiny_model):
    model = tiny_model(tie_word_embeddings=True)
    muon, adam = make_optimizers(model, 1e-3, 0.1)
    groups = [{id(p) for g in o.param_groups for p in g["params"]} for o in (muon, adam)]
    assert groups[0] | groups[1] == {id(p) for p in model.parameters()} and not groups[0] & groups[1]
    assert id(model.model.embed_tokens.weight) in groups[1]
    assert id(model.model.layers[0].mlp.up_proj.weight) in groups[0]


def test_without_muon_adam_trains_everything_and_says_so(tiny_model, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.warns(UserWarning, match="AdamW trains the matrices"):
        record = train(tiny_model(), windows(), replace(CONFIG, tokens=640))
    assert record.step == 10 and record.losses[-1][1] < 6


@given(st.floats(0.01, 0.5), st.floats(0, 1))
def test_the_schedule_rises_then_falls_to_zero(warm_up, fraction):
    factor = linear_schedule(warm_up)
    assert 0 <= factor(fraction) <= 1
    assert factor(warm_up) == pytest.approx(1) and factor(1) == 0 and factor(0) == 0


@pytest.mark.parametrize("options", [dict(tokens=0), dict(tokens=1, batch=0), dict(tokens=1, length=0), dict(tokens=1, optimizer="sgd")])
def test_senseless_options_are_refused(options):
    with pytest.raises(RequestError):
        TrainingConfig(**options)


def test_endless_windows_are_not_needed(tiny_model):
    fixed = repeat(next(windows()))
    assert train(tiny_model(), fixed, replace(CONFIG, tokens=64)).step == 1
