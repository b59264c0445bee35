"""Gradients one block at a time, against the plain backward pass of the whole model; Taylor and GBLM."""

import pytest
import torch
from torch.nn import functional

from models.errors import EspalierError
from pruning import PruningConfig, prune
from pruning.anatomy.roles import find_anatomy
from pruning.calibrating.windows import Windows, calibration_windows
from pruning.collect.blockwise import Batch
from pruning.collect.gradients import GRADIENT_STATISTICS, alone, in_chunks, loss_gradients
from pruning.collect.sensitivity import output_sensitivity
from pruning.job import Job
from pruning.scores.fisher import fisher
from pruning.scores.gblm import gblm
from pruning.scores.taylor import taylor

TEXTS = ["The gardener ties the young branches to the wall and cuts what grows away from it. " * 40]
FAMILIES = ["llama", "gemma3_text", "phi3", "gpt2", "gpt_neox", "opt", "bloom", "mpt", "mixtral", "deepseek_v2"]


def padded_batches() -> tuple[Batch, ...]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(2, 300, (2, 12), generator=generator)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, -4:] = False
    other = torch.randint(2, 300, (1, 9), generator=generator)
    return Batch(ids, mask), Batch(other, torch.ones(1, 9, dtype=torch.bool))


def a_job(model, method: str = "gblm", **options) -> Job:
    windows = Windows(padded_batches(), "test", 3, 3, 29, 12, 0)
    return Job(model, find_anatomy(model), PruningConfig(method=method), lambda: windows, **options)


def plain_gradients(model) -> dict[str, dict[str, torch.Tensor]]:
    """The backward pass of the whole model in fp32, window by window."""
    anatomy = find_anatomy(model)
    found = {entry.name: {"gradient_l1": 0.0, "gradient_l2": 0.0} for entry in anatomy.projections}
    for window in (window for batch in padded_batches() for window in alone(batch)):
        model.zero_grad()
        logits = model(input_ids=window.ids, use_cache=False).logits
        functional.cross_entropy(logits[0, :-1], window.ids[0, 1:]).backward()
        for entry in anatomy.projections:
            gradient = entry.part(entry.parameter.grad)
            found[entry.name]["gradient_l1"] += gradient.abs()
            found[entry.name]["gradient_l2"] += gradient.square()
    model.zero_grad()
    return {name: one | {"gradient_l2": one["gradient_l2"].sqrt()} for name, one in found.items()}


@pytest.mark.parametrize("at_once", [1, 16384])
@pytest.mark.parametrize("family", FAMILIES)
def test_block_by_block_is_the_whole_backward_pass(tiny_model, family, at_once, monkeypatch):
    monkeypatch.setattr("pruning.collect.gradients.TOKENS_AT_ONCE", at_once)
    model = tiny_model(family)
    found = loss_gradients(a_job(model), tuple(GRADIENT_STATISTICS))
    for name, expected in plain_gradients(model).items():
        for need, value in expected.items():
            assert found[need][name].shape == find_weight(model, name).shape
            assert float(value.max()) > 0
            assert torch.allclose(found[need][name], value, rtol=1e-4, atol=1e-5 * float(value.max()))


def find_weight(model, name: str) -> torch.Tensor:
    return next(entry.weight for entry in find_anatomy(model).projections if entry.name == name)


@pytest.mark.parametrize("fast", [True, False])
def test_a_bfloat16_model_has_gradients_summed_in_fp32_and_taken_in_it_where_bf16_is_slow(
    tiny_model, tmp_path, fast, monkeypatch
):
    monkeypatch.setattr(
        "pruning.collect.gradients.choose_dtype", lambda device: torch.bfloat16 if fast else torch.float32
    )
    model = tiny_model("llama").to(torch.bfloat16)
    found = loss_gradients(a_job(model, activations=tmp_path), ("gradient_l2",))
    assert list(tmp_path.iterdir()) == []
    for name, expected in plain_gradients(model.float()).items():
        value, exact = found["gradient_l2"][name], expected["gradient_l2"]
        assert value.dtype == torch.float32
        if fast:  # what each output's errors are weighed by
            rows, exact_rows = (gradient.square().sum(dim=1).sqrt() for gradient in (value, exact))
            assert torch.allclose(rows, exact_rows, rtol=0.1, atol=0.05 * float(exact_rows.max()))
        else:
            assert torch.allclose(value, exact, rtol=1e-3, atol=1e-6)


def test_the_model_is_given_back_as_it_was(tiny_model):
    model = tiny_model("llama").to(torch.bfloat16)
    model.model.layers[1].self_attn.q_proj.weight.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}

    def stop(fraction: float, message: str) -> None:
        if fraction > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loss_gradients(a_job(model, progress=stop), ("gradient_l1",))
    loss_gradients(a_job(model), ("gradient_l1",))
    assert flags == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, value in model.state_dict().items():
        assert value.dtype == torch.bfloat16 and torch.equal(value, state[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert "forward" not in model.model.layers[0].__dict__


def test_gradients_that_are_not_finite_are_named(tiny_model):
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[5] = float("inf")
    with pytest.raises(EspalierError, match="gradients of model.layers"):
        loss_gradients(a_job(model), ("gradient_l1",))


def test_chunks_hold_every_window_once_and_no_more_tokens_than_allowed():
    lengths = 9000, 9000, 50, 20000, 3
    windows = [Batch(torch.zeros(1, length, dtype=torch.long), torch.ones(1, length)) for length in lengths]
    chunks = in_chunks(windows)
    assert [[window.ids.numel() for window in chunk] for chunk in chunks] == [[9000], [9000, 50], [20000], [3]]


def test_the_scores_are_the_published_formulas():
    weight = torch.tensor([[1.0, -2.0], [0.0, 4.0]])
    gradient = torch.tensor([[3.0, 0.5], [7.0, 0.25]])
    norms = torch.tensor([2.0, 10.0], dtype=torch.float64)
    assert taylor(weight, {"gradient_l1": gradient}).tolist() == [[3.0, 1.0], [0.0, 1.0]]
    scores = gblm(weight, {"gradient_l2": gradient, "column_norms": norms})
    assert scores.tolist() == [[302.0, 120.0], [0.0, 140.0]]


def test_fisher_is_the_loss_that_goes_with_a_weight_where_outputs_and_inputs_are_independent():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4000, 3, generator=generator) * torch.tensor([1.0, 3.0, 0.2])
    by_output = torch.randn(4000, 2, generator=generator) * torch.tensor([0.1, 5.0])
    weight = torch.randn(2, 3, generator=generator)
    samples = by_output[:, :, None] * inputs[:, None]  # the gradient of every token's loss by the weight
    statistics = {"gram": inputs.t() @ inputs, "gradient_l2": samples.square().sum(0).sqrt()}
    # An output off by W_ij x_j costs (g_i W_ij x_j)^2 / 2, and the other inputs, being independent, cannot help.
    expected = (weight * samples).square().sum(0)
    assert torch.allclose(fisher(weight, statistics), expected, rtol=0.2)
    assert torch.allclose(output_sensitivity(statistics), by_output.double().square().mean(0), rtol=0.1)


def test_outputs_that_no_gradient_reached_count_least_and_none_reached_all_the_same():
    gradients = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    statistics = {"gram": torch.eye(2), "gradient_l2": gradients}
    assert output_sensitivity(statistics).tolist() == pytest.approx([1.0, 0.5e-6])
    assert output_sensitivity(statistics | {"gradient_l2": torch.zeros(2, 2)}).tolist() == [1.0, 1.0]
    assert output_sensitivity(statistics | {"gram": torch.zeros(2, 2)}).tolist() == [1.0, 1.0]
    assert output_sensitivity({"gram": torch.eye(2)}) is None


@pytest.mark.parametrize("method", ["taylor", "gblm", "fisher"])
@pytest.mark.parametrize("pattern", ["unstructured", "unstructured:global", "2:4"])
def test_they_prune_by_the_gradients_of_the_dense_model(tiny_model, tiny_tokenizer, method, pattern):
    model = tiny_model("llama")
    config = PruningConfig(method=method, pattern=pattern, samples=4, sequence_length=24)
    report = prune(model, tiny_tokenizer, config, TEXTS)
    weights = sum(entry.rows * entry.columns for entry in report.plan.projections)
    assert report.plan.dropped == weights // 2
    if method == "taylor":
        fresh = tiny_model("llama")
        job = Job(fresh, find_anatomy(fresh), config, lambda: calibration_windows(fresh, tiny_tokenizer, config, TEXTS))
        job.take_gradients(job.method.needs)
        last = job.anatomy.projections[-1]
        scores = taylor(last.weight, job.gradients_of(last, job.method.needs))
        entry = report.plan.projections[-1]
        keep = config.parsed_pattern().keep(scores, entry.sparsity, "layer")
        assert torch.equal(find_weight(model, last.name) != 0, keep)


def test_an_expert_without_gradient_is_scored_by_its_weights_and_reported(tiny_model):
    job = a_job(tiny_model("mixtral", num_local_experts=32, num_experts_per_tok=1), method="taylor")
    found = loss_gradients(job, ("gradient_l1",))["gradient_l1"]
    replaced = [name for name, values in found.items() if bool((values == 1).all())]
    assert replaced and all(".experts." in name for name in replaced)
    assert all(bool(values.any()) for name, values in found.items() if ".experts." in name)
    (warning,) = job.warnings
    assert warning.startswith(f"No gradient reached {len(replaced)} experts' projections")
