"""Recovery on real tiny models: the zeros that stay, the losses that fall, the formulas, and what is refused."""

import copy
import json

import pytest
import torch
from torch.nn.functional import log_softmax

from models.errors import Cancelled, EspalierError, RequestError
from pruning import PruningConfig, preview, prune
from pruning.adaptation import descent
from pruning.adaptation.parts import find_parts
from pruning.adaptation.settings import Settings
from pruning.adaptation.streams import StreamWalk
from pruning.adaptation.weights import Trained
from pruning.anatomy.roles import find_anatomy
from pruning.calibrating.windows import Windows
from pruning.collect.blockwise import Batch
from pruning.commands.cli import main
from pruning.forecast import forecast
from pruning.pipeline import opened
from pruning.recovery.distill import Distill
from pruning.recovery.reconstruct import Reconstruct, relative_error

pytestmark = pytest.mark.usefixtures("unchecked")

TEXTS = ["The gardener ties the young branches to the wall.", "A tree that is pruned well bears more fruit."] * 20
SPLIT = ["llama", "qwen3", "gemma2", "gpt2", "opt", "gpt_oss"]
WHOLE = ["gptj", "bloom", "cohere"]
BRIEF = Settings(tokens=512, text=64, batch=32, rate=1e-3)


def config(**settings) -> PruningConfig:
    return PruningConfig(**{"samples": 4, "sequence_length": 16} | settings)


def snapshot(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.fixture
def job(tiny_tokenizer):
    """Opens a job for a model, on these texts."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield lambda model, **settings: stack.enter_context(
            opened(model, tiny_tokenizer, config(**settings), TEXTS, lambda *_: None)
        )


@pytest.mark.parametrize(
    "family, recover",
    [*((family, "reconstruct") for family in SPLIT + WHOLE), *((family, "distill") for family in ("opt", "cohere"))],
)
def test_the_loss_falls_and_the_zeros_stay(livelier, tiny_tokenizer, family, recover):
    model = livelier(family)
    plain = copy.deepcopy(model)
    without = prune(plain, tiny_tokenizer, config(), TEXTS)
    report = prune(model, tiny_tokenizer, config(recover=recover), TEXTS)
    (done,) = report.recovery
    assert done["name"] == recover and done["seconds"] > 0
    if recover == "reconstruct":
        parts = ["attention", "mlp"] if family in SPLIT else ["block"]
        assert [(entry["block"], entry["part"]) for entry in done["parts"]] == [(i, p) for i in range(3) for p in parts]
        assert all(entry["after"] < entry["before"] and entry["steps"] > 0 for entry in done["parts"])
    else:
        assert 0 < done["last"] < done["first"]
    assert report.plan == without.plan
    projections = {entry.parameter_name for entry in find_anatomy(model).projections}
    routers = find_anatomy(model).routers
    pruned = plain.state_dict()
    moved = 0
    for name, tensor in model.state_dict().items():
        zero = pruned[name] == 0
        if name in projections:
            assert torch.equal(tensor == 0, zero)
            assert torch.equal(tensor[zero].view(torch.int32), pruned[name][zero].view(torch.int32))
            moved += int((tensor != pruned[name]).sum())
        elif tensor.ndim > 1 or name in routers:
            assert torch.equal(tensor, pruned[name])
    assert moved > 1000


def test_the_model_is_nearer_to_the_dense_one_on_other_tokens(livelier, tiny_tokenizer):
    dense = livelier("llama")
    ids = tiny_tokenizer(
        "The young tree bears its fruit on branches that the gardener ties.", return_tensors="pt"
    ).input_ids
    taught = log_softmax(dense(ids).logits, -1)

    def lost(recover: str) -> float:
        model = copy.deepcopy(dense)
        prune(model, tiny_tokenizer, config(recover=recover, samples=64), TEXTS * 4)
        return float((taught.exp() * (taught - log_softmax(model(ids).logits, -1))).sum(-1).mean())

    with torch.no_grad():
        nothing, local, whole = lost("none"), lost("reconstruct"), lost("distill")  # gradients off, as a caller may
        assert max(local, whole) < 0.97 * nothing


@pytest.mark.parametrize("family", SPLIT)
def test_a_stream_goes_through_part_after_part_as_through_the_model(livelier, job, family):
    """Against what hooks see of the block and of the model's own forward pass."""
    model = livelier(family)
    open_job = job(model)
    batch = open_job.windows.batches[0]
    blocks = open_job.anatomy.blocks
    seen = []
    hook = blocks[1].register_forward_hook(lambda _, args, output: seen.append((args[0].clone(), output)))
    with torch.no_grad():
        model(**batch.inputs(torch.device("cpu")), use_cache=False)
    hook.remove()
    ((given, given_back),) = seen
    expected = given_back[0] if isinstance(given_back, tuple) else given_back
    with StreamWalk(model, blocks, [batch]) as walk, torch.no_grad():
        hidden = walk.start(0)
        for index in range(2):
            start, through = hidden, lambda stream, index=index: walk.through(index, 0, stream)
            parts = find_parts(model, open_job.anatomy.of_block(index), through, hidden)
            assert [part.name for part in parts] == ["attention", "mlp"]
            for part in parts:
                with part.alone():
                    hidden = through(hidden)
                assert not torch.equal(hidden, start)
            if index == 0:
                torch.testing.assert_close(hidden, given)
    torch.testing.assert_close(hidden, expected)


def test_the_first_part_is_attention_and_a_silent_part_is_not_computed(livelier, job):
    model = livelier("llama")
    open_job = job(model)
    block, entries = open_job.anatomy.blocks[0], open_job.anatomy.of_block(0)
    with StreamWalk(model, open_job.anatomy.blocks, open_job.windows.batches[:1]) as walk, torch.no_grad():
        hidden = walk.start(0)
        attention, mlp = find_parts(model, entries, lambda stream: walk.through(0, 0, stream), hidden)
        calls = []
        block.mlp.gate_proj.register_forward_hook(lambda *_: calls.append("mlp"))
        block.self_attn.q_proj.register_forward_hook(lambda *_: calls.append("attention"))
        with attention.alone():
            middle = walk.through(0, 0, hidden)
        assert calls == ["attention"]
        with mlp.alone():
            after = walk.through(0, 0, middle)
        assert calls == ["attention", "mlp"]
        torch.testing.assert_close(after, middle + block.mlp(block.post_attention_layernorm(middle)))


def test_each_token_counts_by_its_own_size():
    generator = torch.Generator().manual_seed(1)
    target, made = (torch.randn(2, 3, 5, generator=generator) for _ in range(2))
    target[0, 1] *= 1000
    made[0, 1] *= 1000
    by_hand = [
        float(((mine - theirs) ** 2).mean() / (theirs**2).mean())
        for mine, theirs in zip(made.flatten(0, 1), target.flatten(0, 1), strict=True)
    ]
    assert float(relative_error(made, target)) == pytest.approx(sum(by_hand) / 6)


def test_an_unpruned_model_has_nothing_to_learn(livelier, job):
    """Both streams are then one, and no step can better a loss of zero."""
    model = livelier("llama")
    recovery = Reconstruct(job(model), BRIEF)
    recovery.begin()
    assert all(entry["before"] == 0 for entry in recovery.run(lambda *_: None, None)["parts"])


@pytest.mark.parametrize("family", ["llama", "gemma2", "cohere"])  # of which the last two change the head's logits
def test_the_divergence_is_that_of_two_forward_passes(livelier, job, family, monkeypatch):
    model = livelier(family)
    dense = copy.deepcopy(model)
    recovery = Distill(job(model), BRIEF)
    recovery.begin()
    with torch.no_grad():
        for projection in find_anatomy(model).projections:
            projection.weight.mul_(0.7)
    pruned = copy.deepcopy(model)
    seen = []
    monkeypatch.setattr("pruning.recovery.distill.mixed_precision", lambda _: torch.autocast("cpu", enabled=False))
    own = recovery._divergence
    monkeypatch.setattr(recovery, "_divergence", lambda number: seen.append((number, own(number))) or seen[-1][1])
    recovery.run(lambda *_: None, None)
    number, value = seen[0]
    ids = recovery._batches[number].ids
    with torch.no_grad():
        taught, made = (log_softmax(each(ids).logits.double(), -1) for each in (dense, pruned))
    assert float(value.detach()) == pytest.approx(float((taught.exp() * (taught - made)).sum(-1).mean()), rel=1e-3)


@pytest.mark.parametrize("recover, word", [("reconstruct", "Reconstructing mlp"), ("distill", "Distilling,")])
def test_cancelling_leaves_the_model_as_it_was(livelier, tiny_tokenizer, recover, word):
    model = livelier("gpt2").train()
    before, flags = snapshot(model), [parameter.requires_grad for parameter in model.parameters()]

    def stop(fraction, message):
        if word in message and "block 1 " not in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        prune(model, tiny_tokenizer, config(recover=recover), TEXTS, stop)
    assert same(model, before) and flags == [parameter.requires_grad for parameter in model.parameters()]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all("forward" not in module.__dict__ and module.training for module in model.modules())


@pytest.mark.parametrize("recover", ["reconstruct", "distill"])
def test_a_loss_that_is_no_number_stops_the_run_in_one_line(livelier, tiny_tokenizer, monkeypatch, recover):
    model = livelier("llama")
    before = snapshot(model)
    monkeypatch.setattr(descent, "rate_factor", lambda *_: float("inf"))
    with pytest.raises(EspalierError, match="not finite.*omit --recover") as caught:
        prune(model, tiny_tokenizer, config(recover=recover), TEXTS)
    assert "\n" not in str(caught.value) and same(model, before)


@pytest.mark.parametrize("recover", ["reconstruct", "reconstruct+distill"])
def test_the_result_has_the_stored_dtype_and_is_what_was_measured(livelier, tiny_tokenizer, recover):
    model = livelier("llama").to(torch.bfloat16)
    report = prune(model, tiny_tokenizer, config(recover=recover, pattern="2:4"), TEXTS)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.bfloat16}
    assert report.after.sparsity == pytest.approx(0.5)
    for projection in find_anatomy(model).projections:
        assert ((projection.weight != 0).reshape(projection.rows, -1, 4).sum(-1) <= 2).all()


def test_what_is_trained_is_rounded_to_what_is_stored(livelier, job):
    model = livelier("llama").to(torch.bfloat16)
    trained = Trained(job(model), model.model.layers[0])
    for value in trained.values:
        value += 1e-3
    trained.round()
    assert all(torch.equal(value, value.bfloat16().float()) for value in trained.values)
    trained.values[0].fill_(torch.inf)
    with pytest.raises(EspalierError, match="overflow"):
        trained.round()


def test_blocks_that_share_a_weight_are_refused_before_any_work(livelier, tiny_tokenizer):
    model = livelier("llama")
    model.model.layers[2].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    said = []
    for deed in (prune, preview):
        with pytest.raises(RequestError, match="Blocks 0 and 2 .* share mlp.up_proj.weight"):
            deed(model, tiny_tokenizer, config(recover="reconstruct"), TEXTS, lambda *news: said.append(news))
    assert not said


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"recover": "reconstruct+reconstruct"}, "once"),
        ({"recover": "none+distill"}, "none by itself"),
        ({"recover": "reconstruct+magic"}, "use one of distill, none, reconstruct"),
        ({"recover": "distill", "structure": "layers"}, "--recover distill is about single weights"),
        ({"recover_minutes": 3}, "say which recovery"),
        ({"recover": "distill", "recover_minutes": 0}, "more than 0 minutes"),
        ({"recover": "distill", "recover_minutes": "2"}, "more than 0 minutes"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(settings, said):
    with pytest.raises(RequestError, match=said):
        PruningConfig(**settings)


def test_so_many_steps_are_made_or_so_many_seconds():
    assert len(list(descent.Extent(5).fractions())) == 5
    assert list(descent.Extent(5, seconds=0.0).fractions()) == [0.0]


def windows(*shapes: tuple[int, int], begin_with: tuple[int, ...] = ()) -> Windows:
    """Windows of numbers that count up, in batches of these shapes."""
    opening = torch.tensor(begin_with, dtype=torch.long)
    batches = []
    for rows, length in shapes:
        ids = torch.stack(
            [torch.cat([opening, torch.arange(length - len(opening)) + 100 * row]) for row in range(rows)]
        )
        batches.append(Batch(ids, torch.ones_like(ids, dtype=torch.bool)))
    return Windows(tuple(batches), "numbers", 1, 1, 1, 1, 0, begin_with)


def test_the_text_is_cut_and_counted():
    settings = Settings(tokens=1000, text=40, batch=32, rate=1.0)
    batches = settings.batches(windows((3, 16), (1, 10)))
    assert [tuple(batch.ids.shape) for batch in batches] == [(2, 16), (1, 16)]  # 40 tokens are there in three windows
    assert settings.extent(batches, None).steps == 16  # eight times the text, which is short
    assert Settings(tokens=240, text=40, batch=32, rate=1.0).extent(batches, None).steps == 10


def test_long_windows_are_cut_and_begin_alike():
    batches = Settings(tokens=1000, text=1000, batch=8, rate=1.0).batches(windows((2, 20), begin_with=(7,)))
    bodies = [list(range(7)), list(range(7, 14)), list(range(14, 19))]
    expected = [[7, *(100 * row + body for body in piece)] for row in range(2) for piece in bodies]
    assert [row for batch in batches for row in batch.ids.tolist()] == expected


def test_a_forecast_counts_the_recovery(livelier, tiny_tokenizer):
    model = livelier("llama")

    def expected(**settings):
        settled = config(method="magnitude", **settings)
        return forecast(model, settled, preview(model, tiny_tokenizer, settled, TEXTS))

    plain, local, whole = (expected(recover=recover) for recover in ("none", "reconstruct", "distill"))
    weights = sum(entry.weight.numel() for entry in find_anatomy(model).projections)
    blocks = sum(parameter.numel() for parameter in model.model.layers.parameters())
    assert plain.recovery_bytes == 0
    assert local.recovery_bytes == 4 * blocks + 2 * 64 * 32 * 4 and whole.recovery_bytes == 16 * weights + 64 * 32 * 4
    assert local.seconds > plain.seconds and local.memory_bytes == plain.memory_bytes + local.recovery_bytes
    assert expected(recover="distill", recover_minutes=5).seconds == pytest.approx(300, abs=30)


def test_the_command_records_what_was_recovered(tiny_folder, tmp_path, capsys):
    command = ["prune", str(tiny_folder("llama")), "--samples", "4", "--sequence-length", "32", "--device", "cpu"]
    command += ["--recover", "reconstruct+distill", "--recover-minutes", "0.02", "--method", "magnitude"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "reconstruct: the relative errors of 6 parts came from" in said and "nats a token away from the" in said
    record = json.loads((tmp_path / "out" / "pruning.json").read_text())
    assert [done["name"] for done in record["recovery"]] == ["reconstruct", "distill"]
    assert len(record["recovery"][0]["parts"]) == 6 and record["recovery"][1]["steps"] >= 1
    assert record["identity"]["settings"]["recover_minutes"] == 0.02
    assert record["calibration"]["windows"] == 4  # read for the recovery alone
