"""The training loop: it learns, its loss is the weighted one, and a killed run ends as an unbroken one would."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from models.errors import Cancelled, EspalierError, RequestError
from training.loop import TrainingConfig, accumulate_gradients, train
from training.loss import CHUNK, token_loss
from training.optimizer import make_optimizers
from training.processes import Processes

CONFIG = TrainingConfig(tokens=16 * 4 * 30, length=16, batch=4, learning_rate=5e-3, checkpoint_every=10)


def windows(seed=0):
    """Endless windows that count up by one, with random weights."""
    generator = np.random.default_rng(seed)
    while True:
        start = generator.integers(2, 200)
        yield np.arange(start, start + 17, dtype=np.int64), generator.random(16, dtype=np.float32)


def cancel_after(limit):
    def progress(fraction, message):
        if fraction > limit:
            raise Cancelled()

    return progress


def weights_of(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_it_learns_to_count(tiny_model):
    model = tiny_model()
    config = replace(CONFIG, tokens=16 * 4 * 150, learning_rate=2e-2)
    record = train(model, windows(), config, record_every=10)
    assert record.losses[0][1] > 5 and record.losses[-1][1] < 1
    assert record.step == 150 and not model.training


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_loss_is_the_weighted_mean_whatever_the_chunk(tiny_model, monkeypatch, rows):
    model = tiny_model()
    monkeypatch.setitem(CHUNK, "cpu", rows * model.config.vocab_size)
    ids = torch.arange(2, 24).view(2, 11)
    weights = torch.rand(2, 10)
    losses = cross_entropy(model(ids[:, :-1]).logits.double().transpose(1, 2), ids[:, 1:], reduction="none")
    expected = (losses * weights).sum() / weights.sum()
    expected.backward()
    wanted = model.lm_head.weight.grad.clone()
    model.zero_grad()
    loss = token_loss(model, ids, weights)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(model.lm_head.weight.grad, wanted, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # gpt2 has dropout: the random numbers go on, too
def test_a_killed_run_goes_on_to_the_same_weights_and_losses(tiny_model, tmp_path, family):
    unbroken = tiny_model(family)
    held_out = [window for window, _ in zip(windows(1), range(6), strict=False)]
    config = replace(CONFIG, accumulate=2, tokens=2 * CONFIG.tokens, validate_every=7)
    whole = train(unbroken, windows(), config, validation=held_out)
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(Cancelled):
        train(tiny_model(family), windows(), config, checkpoint, cancel_after(0.7), validation=held_out)
    assert checkpoint.exists()
    resumed = tiny_model(family, seed=9)
    record = train(resumed, windows(), config, checkpoint, validation=held_out)
    assert record.step == 30 and not checkpoint.exists()
    assert torch.equal(weights_of(unbroken), weights_of(resumed))
    assert (record.losses, record.validation) == (whole.losses, whole.validation)


def test_accumulated_batches_train_like_one_large_batch(tiny_model):
    one, many = tiny_model(), tiny_model()
    config = replace(CONFIG, batch=12, optimizer="adamw")
    large = train(one, windows(), config, record_every=1)
    small = train(many, windows(), replace(config, batch=3, accumulate=4), record_every=1)
    assert [tokens for tokens, _ in small.losses] == [tokens for tokens, _ in large.losses]
    assert [loss for _, loss in small.losses] == pytest.approx([loss for _, loss in large.losses], abs=1e-3)
    assert large.losses[-1][1] < large.losses[0][1] - 0.05, "nothing was learnt that could differ"


def test_the_gradients_of_two_shares_average_to_those_of_the_whole(tiny_model):
    model, step = tiny_model(), [next(windows(seed)) for seed in range(8)]

    def gradient(index, count):
        processes = Processes(model, batch=4)
        processes.index, processes.count = index, count
        model.zero_grad()
        value = accumulate_gradients(model, token_loss, step, processes)
        return value.item(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    (one, first), (two, second), (whole, expected) = gradient(0, 2), gradient(1, 2), gradient(0, 1)
    assert one + two == pytest.approx(whole, rel=1e-3) and abs(one - two) > 0.01
    assert ((first + second) / 2 - expected).norm() < 0.02 * expected.norm()


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tiny_model, monkeypatch):
    three = SimpleNamespace(num_processes=3, is_main_process=True, process_index=0, device=torch.device("cpu"))
    monkeypatch.setattr("training.processes.Accelerator", lambda **_: three)
    with pytest.raises(RequestError, match="--batch 4 cannot be shared by 3 processes"):
        train(tiny_model(), windows(), CONFIG)


def test_held_out_windows_are_measured_and_not_learnt(tiny_model):
    held_out = [next(windows(1)) for _ in range(3)] + [next(windows(2))]
    with_them, without = tiny_model(), tiny_model()
    config = replace(CONFIG, validate_every=10)
    record = train(with_them, windows(), config, validation=held_out)
    train(without, windows(), CONFIG)
    assert [tokens for tokens, _ in record.validation] == [640, 1280, 1920]
    assert torch.equal(weights_of(with_them), weights_of(without))
    ids, weights = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*held_out, strict=True))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = token_loss(with_them, ids, weights).item()
    assert record.validation[-1][1] == pytest.approx(expected, abs=2e-3)


def test_a_checkpoint_of_other_options_is_refused(tiny_model, tmp_path):
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(Cancelled):
        train(tiny_model(), windows(), CONFIG, checkpoint, cancel_after(0.5))
    before = checkpoint.read_bytes()
    with pytest.raises(RequestError, match="other options"):
        train(tiny_model(), windows(), replace(CONFIG, learning_rate=1e-3), checkpoint)
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_checkpoint_is_refused(tiny_model, tmp_path, content):
    checkpoint = tmp_path / "run.checkpoint"
    checkpoint.write_bytes(content)
    with pytest.raises(RequestError, match="remove it to begin anew"):
        train(tiny_model(), windows(), CONFIG, checkpoint)
    assert checkpoint.read_bytes() == content


def test_a_loss_that_is_no_number_stops_the_run(tiny_model):
    model = tiny_model()
    model.lm_head.weight.data.fill_(float("inf"))
    with pytest.raises(EspalierError, match="lower --learning-rate"):
        train(model, windows(), CONFIG)


def test_too_few_windows_are_told(tiny_model):
    few = [window for window, _ in zip(windows(), range(10), strict=False)]
    with pytest.raises(EspalierError, match="ended at step 2"):
        train(tiny_model(), iter(few), CONFIG)


def test_the_gradient_is_clipped(tiny_model):
    norms = []

    def measure(module, ids, weights):
        return 1e6 * token_loss(module, ids, weights)

    model = tiny_model()
    step = torch.optim.AdamW.step

    def watched(self, closure=None):
        gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        norms.append(torch.cat(gradients).norm().item())  # the second optimizer sees what the first has left
        return step(self, closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watched)
        train(model, windows(), replace(CONFIG, tokens=128, clip=0.5, optimizer="adamw"), loss=measure)
    assert norms and max(norms) == pytest.approx(0.5, rel=1e-3)


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


@pytest.mark.parametrize(
    "options",
    [
        dict(tokens=0), dict(batch=0), dict(length=0), dict(accumulate=0), dict(checkpoint_every=0),
        dict(validate_every=0), dict(optimizer="sgd"), dict(schedule="zigzag"), dict(warm_up=1.0), dict(warm_up=-0.1),
        dict(learning_rate=0.0), dict(learning_rate=float("nan")), dict(clip=0.0), dict(minutes=0.0),
        dict(weight_decay=-1.0),
    ],
)  # fmt: skip
def test_senseless_options_are_refused(options):
    with pytest.raises(RequestError):
        TrainingConfig(**({"tokens": 1} | options))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_learns_what_the_cpu_learns(tiny_model):
    config = replace(CONFIG, validate_every=10, accumulate=2)
    held_out = [next(windows(1))] * 4
    cpu = train(tiny_model(), windows(), config, validation=held_out)
    gpu = train(tiny_model().cuda(), windows(), config, validation=held_out)
    assert [loss for _, loss in gpu.losses] == pytest.approx([loss for _, loss in cpu.losses], abs=0.05)
    assert gpu.validation[-1][1] == pytest.approx(cpu.validation[-1][1], abs=0.05)
