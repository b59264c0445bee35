"""Distillation: the loss against its formula, its limits, and a student that comes closer to its teacher."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import RequestError
from training.distillation import Distillation, token_losses
from training.loop import TrainingConfig, train
from training.loss import CHUNK, token_loss


def reference(student, teacher, targets, temperature):
    """Cross-entropy and T^2 KL by the definitions, a target at a time, in double precision."""
    hard, soft = np.zeros(targets.shape), np.zeros(targets.shape)
    for place in np.ndindex(*targets.shape):
        one, other = student[place].double().numpy(), teacher[place].double().numpy()

        def softmax(values):
            return np.exp(values) / np.exp(values).sum()

        hard[place] = -np.log(softmax(one)[targets[place]])
        p, q = softmax(other / temperature), softmax(one / temperature)
        soft[place] = temperature**2 * (p * np.log(p / q)).sum()
    return hard, soft


@given(st.integers(0, 1000), st.floats(0.5, 8.0))
@settings(max_examples=20, deadline=None)
def test_the_loss_is_that_of_its_formula(seed, temperature):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(6, 5, generator=generator) for _ in range(2))
    targets = torch.randint(5, (6,), generator=generator)
    found = token_losses(student, teacher, targets, temperature)
    for value, expected in zip(found, reference(student, teacher, targets, temperature), strict=True):
        assert np.allclose(value.numpy(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("hard", [0.0, 0.3, 1.0])
def test_hard_and_soft_parts_are_shares_of_the_weighted_mean(tiny_model, monkeypatch, hard):
    monkeypatch.setitem(CHUNK, "cpu", 3 * 320)  # three rows at a time
    student, teacher = tiny_model(seed=1), tiny_model(seed=2)
    ids = torch.arange(2, 24).view(2, 11)
    weights = torch.rand(2, 10)
    first, second = reference(
        student(ids[:, :-1]).logits.detach(), teacher(ids[:, :-1]).logits.detach(), ids[:, 1:].numpy(), 2.0
    )
    expected = ((hard * first + (1 - hard) * second) * weights.numpy()).sum() / weights.numpy().sum()
    assert Distillation(teacher, 2.0, hard)(student, ids, weights).item() == pytest.approx(expected, rel=1e-4)


def test_without_a_soft_part_it_is_the_loop_s_own_loss(tiny_model):
    ids, weights = torch.arange(2, 24).view(2, 11), torch.rand(2, 10)
    student = tiny_model(seed=1)
    distilled = Distillation(tiny_model(seed=2), hard=1.0)(student, ids, weights)
    assert distilled.item() == pytest.approx(token_loss(student, ids, weights).item(), rel=1e-5)


def test_a_student_comes_closer_to_its_teacher_which_stays_as_it_was(tiny_model):
    teacher, student = tiny_model(seed=1), tiny_model(seed=2, num_hidden_layers=2)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    loss = Distillation(teacher, 2.0, hard=0.0)
    ids = np.random.default_rng(0).integers(2, 300, 17)
    windows = iter([(ids, np.ones(16, np.float32))] * 200)
    config = TrainingConfig(tokens=16 * 2 * 60, length=16, batch=2, learning_rate=1e-2)
    record = train(student, windows, config, loss=loss, record_every=10)
    assert record.losses[-1][1] < 0.3 * record.losses[0][1]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_another_vocabulary_is_refused(tiny_model):
    loss = Distillation(tiny_model())
    ids = torch.ones(1, 4, dtype=torch.long)
    small = tiny_model()
    small.resize_token_embeddings(100)
    with pytest.raises(RequestError, match="one tokenizer"):
        loss(small, ids, torch.ones(1, 3))


@pytest.mark.parametrize("options", [dict(temperature=0.0), dict(hard=-0.1), dict(hard=1.1)])
def test_senseless_options_are_refused(tiny_model, options):
    with pytest.raises(RequestError):
        Distillation(tiny_model(), **options)
