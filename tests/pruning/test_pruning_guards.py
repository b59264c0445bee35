"""What stops a run before harm is done, and what is said then: the dense model, memory, arithmetic, overlap."""

import copy
import json
import math
import re

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.nn import functional

from evals.__main__ import build_parser
from models.errors import EspalierError, RequestError
from pruning import PruningConfig, prune
from pruning.anatomy.roles import find_anatomy
from pruning.calibrating.overlap import KEPT, NGRAM, Sketch, sketch
from pruning.calibrating.windows import Windows
from pruning.collect.blockwise import Batch
from pruning.commands.cli import main
from pruning.guards import memory_advice
from pruning.numerics.matmul import coarse_matmul, exact_matmul
from pruning.saved import saving

TEXTS = ["The gardener ties the young branches to the wall.", "A tree that is pruned well bears more fruit."] * 20


def config(**settings) -> PruningConfig:
    return PruningConfig(**{"samples": 4, "sequence_length": 16} | settings)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt"])
def test_the_dense_perplexity_is_that_of_the_plain_forward(tiny_model, tiny_tokenizer, family):
    model = tiny_model(family)
    dense = copy.deepcopy(model)
    seen = []
    note = lambda module, args, kwargs: seen.append(kwargs["input_ids"])  # noqa: E731
    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    report = prune(model, tiny_tokenizer, config(), calibration=TEXTS)
    handle.remove()
    losses = []
    for ids in {tuple(ids[0].tolist()): ids for ids in seen if len(ids) == 1}.values():
        with torch.no_grad():
            logits = dense(input_ids=ids).logits
        losses.append(functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none"))
    assert len(torch.cat(losses)) == 4 * 15
    assert report.dense_perplexity == pytest.approx(math.exp(float(torch.cat(losses).mean())), rel=1e-5)
    assert report.as_dict()["dense_perplexity"] == report.dense_perplexity


def test_a_model_worse_than_guessing_is_not_pruned(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight.mul_(1000)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(EspalierError, match=r"worse than guessing.*nats per token; guessing among 320"):
        prune(model, tiny_tokenizer, config(), calibration=TEXTS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_output_that_is_not_finite_stops_the_run(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(EspalierError, match=r"not finite \(model\.norm has weights that are not\).*--dtype float32"):
        prune(model, tiny_tokenizer, config(), calibration=TEXTS)


def test_no_text_no_check(tiny_model, tiny_tokenizer):
    assert prune(tiny_model("llama"), tiny_tokenizer, config(method="magnitude")).dense_perplexity is None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 137438953472 bytes."),
    ],
)
@pytest.mark.parametrize(("device", "advice"), [("cpu", "--activations disk"), ("cuda", "--offload or --device cpu")])
def test_a_lack_of_memory_becomes_advice(error, device, advice):
    says = f"--samples, a shorter --sequence-length, {advice}"
    with pytest.raises(EspalierError, match=says), memory_advice(torch.device(device)):
        raise error


def test_the_allocator_of_this_torch_is_understood():
    with pytest.raises(EspalierError, match="Out of memory while pruning on cpu"), memory_advice(torch.device("cpu")):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), memory_advice(torch.device("cpu")):
        raise RuntimeError("shapes do not match")


def test_a_lack_of_memory_within_a_run_puts_the_model_back(tiny_model, tiny_tokenizer, monkeypatch):
    model = tiny_model("llama")
    before = copy.deepcopy(model.state_dict())
    calls = []

    def short(own):
        def forward(*args, **kwargs):
            calls.append(1)
            if len(calls) > 4:  # after the dense model was checked
                raise MemoryError
            return own(*args, **kwargs)

        return forward

    monkeypatch.setattr(model.model.layers[2], "forward", short(find_anatomy(model).blocks[2].forward))
    with pytest.raises(EspalierError, match="Out of memory"):
        prune(model, tiny_tokenizer, config(), calibration=TEXTS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_gram_matrix_of_bf16_inputs_loses_nothing_by_coarse_products():
    from pruning.collect.statistics import Gram

    inputs = torch.randn(3000, 96, generator=torch.Generator().manual_seed(0)).bfloat16()
    gram = Gram(96, inputs.device)
    for part in inputs.split(1024):
        gram.add(part)
    exact = inputs.double().t() @ inputs.double()
    assert torch.allclose(gram.value().double(), exact, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_coarse_products_are_for_a_while(precision):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        with coarse_matmul():
            assert torch.get_float32_matmul_precision() == "medium"
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_fp32_is_fp32_inside_and_the_caller_s_choice_outside(precision):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        with pytest.raises(KeyError), exact_matmul():
            assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cuda.matmul.allow_tf32
            raise KeyError
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def windows_of(rows) -> Windows:
    batches = tuple(Batch(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool)) for row in rows)
    return Windows(batches, "test", len(rows), len(rows), sum(map(len, rows)), max(map(len, rows)), 0)


def ngrams(tokens) -> set[tuple[int, ...]]:
    return {tuple(tokens[start : start + NGRAM]) for start in range(len(tokens) - NGRAM + 1)}


tokens_of_few_kinds = st.lists(st.integers(0, 3), min_size=2, max_size=60)


@given(st.lists(tokens_of_few_kinds, min_size=1, max_size=4), tokens_of_few_kinds)
def test_a_sketch_that_holds_all_is_exact(rows, text):
    seen = set().union(*map(ngrams, rows))
    found = Sketch.from_dict(sketch(windows_of(rows)).as_dict())
    asked = ngrams(text)
    assert found.whole
    assert found.covers(text) == pytest.approx(len(asked & seen) / len(asked) if asked else 0.0)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_sketch_of_many_estimates_the_share(share):
    generator = torch.Generator().manual_seed(1)
    seen = torch.randint(0, 4000, (20_000,), generator=generator).tolist()
    other = torch.randint(0, 4000, (20_000,), generator=generator).tolist()
    found = sketch(windows_of([seen[start : start + 500] for start in range(0, 20_000, 500)]))
    assert not found.whole and len(found.hashes) == KEPT
    known = seen[: int(20_000 * share)]
    exact = len(ngrams(known)) / len(ngrams(known + other[: 20_000 - len(known)])) if known else 0.0
    assert found.covers(known + other[: 20_000 - len(known)]) == pytest.approx(exact, abs=0.08)
    assert (found.covers(other) == 0.0) and found.covers(seen[:500]) > 0.9


def test_measuring_on_the_calibration_text_is_noted(capsys, monkeypatch, tiny_folder, tmp_path):
    monkeypatch.setattr(saving, "check_reload", lambda *_: None)
    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    text.write_text(" ".join(f"Tree {number} bears {number * number} apples." for number in range(200)))
    other.write_text(" ".join(f"The rain of day {number} fell {number + 7} times on roofs." for number in range(200)))
    dense, out = str(tiny_folder("llama")), str(tmp_path / "pruned")
    quick = ["--device", "cpu", "--dtype", "float32"]
    assert main(["prune", dense, "--out", out, "--calibration", str(text), "--sequence-length", "64", *quick]) == 0
    notes = {}
    for data in (text, other):
        capsys.readouterr()
        measure = ["--data", str(data), "--out", str(tmp_path / data.stem), "--metrics", "perplexity", "--json"]
        options = build_parser().parse_args(["run", dense, out, *measure, *quick])
        options.action(options)
        notes[data.stem] = json.loads(capsys.readouterr().out)["notes"]
    assert len(notes["text"]) == 1 and notes["other"] == []
    found = re.search(r"overlaps what was measured \((\d+) %\)", notes["text"][0])
    assert out in notes["text"][0] and int(found[1]) > 80


def look_ahead(model):
    """Every token is told a little of all others, as an encoder's are."""
    model.get_input_embeddings().register_forward_hook(lambda module, given, out: out + out.mean(1, keepdim=True))
    return model


@pytest.mark.parametrize("method", ["wanda", "obs"])
def test_a_model_that_reads_later_tokens_is_not_calibrated(tiny_model, tiny_tokenizer, method):
    model = look_ahead(tiny_model())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RequestError, match="LlamaForCausalLM is no causal model: .* nothing was pruned"):
        prune(model, tiny_tokenizer, config(method=method), calibration=TEXTS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_alone_need_no_causal_model(tiny_model, tiny_tokenizer):
    report = prune(look_ahead(tiny_model()), tiny_tokenizer, config(method="magnitude"))
    assert report.calibration is None and report.after.nonzero < report.before.nonzero
