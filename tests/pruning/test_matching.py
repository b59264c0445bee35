"""Weights that aim at the dense model's stream: the formula, both streams, what it is good for, and what is refused."""

import copy
import hashlib
from contextlib import closing

import pytest
import torch
from torch.nn.functional import log_softmax

from models.errors import Cancelled, EspalierError, RequestError
from pruning import PruningConfig, Recipe, preview, prune, run
from pruning.adaptation.matching import RIDGE, Matching, aimed, can_match
from pruning.anatomy.roles import find_anatomy
from pruning.forecast import forecast
from pruning.pipeline import opened

pytestmark = pytest.mark.usefixtures("unchecked")

TEXTS = ["The gardener ties the young branches to the wall.", "A tree that is pruned well bears more fruit."] * 20
FAMILIES = ["llama", "qwen2", "gemma2", "gpt2", "opt", "gptj", "bloom"]


def config(**settings) -> PruningConfig:
    given = {"method": "obs", "solver": "sparsegpt", "match": "dense", "samples": 16, "sequence_length": 16}
    return PruningConfig(**given | settings)


@pytest.fixture
def with_biases(livelier):
    """A model with biases that matter where its family has any."""

    def make(family: str):
        model = livelier(family)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
        return model

    return make


def test_the_aim_is_the_ridge_solution():
    """Against least squares with the ridge as further rows."""
    generator = torch.Generator().manual_seed(0)
    inputs, outputs = (torch.randn(50, n, generator=generator, dtype=torch.float64) for n in (8, 5))
    weight = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    ridge = RIDGE * inputs.square().sum(0).mean()
    system = torch.cat([inputs, ridge.sqrt() * torch.eye(8, dtype=torch.float64)])
    sides = torch.cat([outputs, ridge.sqrt() * weight.t()])
    expected = torch.linalg.lstsq(system, sides).solution.t()
    (found,) = aimed((inputs.t() @ inputs).float(), [(inputs.t() @ outputs).float()], [weight.float()])
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)
    assert aimed(torch.zeros(8, 8), [torch.zeros(8, 5)], [weight.float()])[0].equal(weight.float())


@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_stream_that_lost_nothing_every_weight_aims_at_itself(with_biases, tiny_tokenizer, family):
    model = with_biases(family)
    seen = []
    with opened(model, tiny_tokenizer, config(), TEXTS, lambda *_: None) as job, Matching(job) as matching:
        for index in range(3):
            with matching.block(index) as block:
                for aims in block.aims(lambda fraction: None):
                    seen += [aim.projection.name for aim in aims]
                    for aim in aims:
                        weight = aim.projection.weight.float()
                        assert float((aim.weight - weight).norm() / weight.norm()) < 1e-2, aim.projection.name
        batch, streams = job.windows.batches[0], [matching._dense[0].clone(), matching._pruned[0].clone()]
    given = []
    find_anatomy(model).blocks[2].register_forward_hook(lambda module, args, output: given.append(output))
    with torch.no_grad():
        model(**batch.inputs(torch.device("cpu")), use_cache=False)
    (output,) = given
    for stream in streams:
        torch.testing.assert_close(stream, output[0] if isinstance(output, tuple) else output, rtol=1e-3, atol=1e-4)
    assert sorted(seen) == sorted(projection.name for projection in job.anatomy.projections)


def test_the_pruned_stream_ends_nearer_to_the_dense_one_on_other_tokens(livelier, tiny_tokenizer):
    dense = livelier("llama")
    ids = tiny_tokenizer(
        "The young tree bears fruit on branches that the gardener ties.", return_tensors="pt"
    ).input_ids
    taught = log_softmax(dense(ids).logits, -1)

    def lost(match: str) -> float:
        model = copy.deepcopy(dense)
        report = prune(model, tiny_tokenizer, config(match=match, samples=64), TEXTS * 4)
        assert report.after.sparsity == pytest.approx(0.5, abs=0.01)
        return float((taught.exp() * (taught - log_softmax(model(ids).logits, -1))).sum(-1).mean())

    with torch.no_grad():
        assert lost("dense") < 0.9 * lost("none")


def test_a_stream_that_is_not_finite_is_told_with_the_projection(livelier, tiny_tokenizer):
    model = livelier("llama")
    with opened(model, tiny_tokenizer, config(), TEXTS, lambda *_: None) as job, Matching(job) as matching:
        matching._pruned[0] = torch.full_like(matching._pruned[0], torch.nan)
        with pytest.raises(EspalierError, match=r"layers\.0\.self_attn\.q_proj are not finite.*--dtype float32"):
            with matching.block(0) as block, closing(block.aims(lambda fraction: None)) as aims:
                next(aims)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_counts_are_exact_and_cancelling_leaves_the_model_as_it_was(with_biases, tiny_tokenizer, family):
    model = with_biases(family)
    before = copy.deepcopy(model.state_dict())

    def cancel(fraction: float, message: str) -> None:
        if "block 2" in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        prune(model, tiny_tokenizer, config(pattern="2:4"), TEXTS, cancel)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    prune(model, tiny_tokenizer, config(pattern="2:4"), TEXTS)
    for projection in find_anatomy(model).projections:
        groups = projection.weight.reshape(projection.rows, -1, 4)
        assert bool(((groups != 0).sum(-1) <= 2).all())


def test_a_run_that_was_cut_off_ends_with_the_same_bytes(tiny_folder, tmp_path):
    recipe = Recipe(config(samples=4))
    model = str(tiny_folder("llama"))

    def cancel(fraction: float, message: str) -> None:
        if "block 3" in message:
            raise Cancelled

    with pytest.raises(Exception, match="--resume"):
        run(recipe, model, tmp_path / "cut", cancel)
    assert len(list((tmp_path / "cut.partial").glob("block-*"))) == 2
    run(recipe, model, tmp_path / "cut", resume=True)
    run(recipe, model, tmp_path / "whole")
    hashes = [
        hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest() for name in ("cut", "whole")
    ]
    assert hashes[0] == hashes[1]


def test_what_makes_no_sense_is_refused_before_any_work(tiny_model, tiny_tokenizer):
    with pytest.raises(RequestError, match="--solver none keeps them"):
        PruningConfig(match="dense")
    with pytest.raises(RequestError, match="Unknown match"):
        PruningConfig(solver="refit", match="both")
    with pytest.raises(RequestError, match="omit one of them"):
        PruningConfig(structure="layers", match="dense")
    assert can_match(find_anatomy(tiny_model("llama"))) and not can_match(find_anatomy(tiny_model("mixtral")))
    with pytest.raises(RequestError, match="mixtures of experts"):
        prune(tiny_model("mixtral"), tiny_tokenizer, config(), TEXTS)


def test_a_forecast_counts_both_streams(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")

    def expected(match: str):
        settings = config(match=match)
        return forecast(model, settings, preview(model, tiny_tokenizer, settings, TEXTS))

    plain, matched = expected("none"), expected("dense")
    assert matched.activation_bytes == 2 * plain.activation_bytes
    assert matched.statistics_bytes > plain.statistics_bytes
