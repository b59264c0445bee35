"""`prune()` on real tiny models: what changes, what does not, and what happens when it fails."""

import copy

import pytest
import torch

from models.errors import Cancelled, EspalierError, RequestError
from pruning import PruningConfig, preview, prune, registry, replay
from pruning.anatomy.roles import find_anatomy
from pruning.forecast import forecast
from pruning.plan import Plan
from pruning.structures.none import mask_hash

TEXTS = ["The gardener ties the young branches to the wall.", "A tree that is pruned well bears more fruit."] * 20
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "gpt2", "gpt_neox", "opt", "bloom"]


def config(**settings) -> PruningConfig:
    return PruningConfig(**{"samples": 4, "sequence_length": 16} | settings)


def snapshot(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_wanda_halves_every_projection_and_touches_nothing_else(tiny_model, tiny_tokenizer, family):
    model = tiny_model(family)
    before = snapshot(model)
    report = prune(model, tiny_tokenizer, config(), calibration=TEXTS)
    projections = {f"{projection.name}.weight" for projection in find_anatomy(model).projections}
    for projection in find_anatomy(model).projections:
        assert ((projection.weight == 0).sum(1) == projection.columns // 2).all()
    for name, tensor in model.state_dict().items():
        kept = tensor != 0 if name in projections else torch.ones_like(tensor, dtype=torch.bool)
        assert torch.equal(tensor[kept], before[name][kept])
    assert report.after.sparsity == pytest.approx(0.5)
    assert report.calibration["windows"] == 4 and report.calibration["tokens"] == 64
    assert not report.saves_memory and not report.saves_time and "neither memory nor time" in report.note


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_block_is_scored_on_what_the_pruned_blocks_give(tiny_model, tiny_tokenizer, family):
    """The same by hand: a plain forward per block, with hooks, on the model pruned so far."""
    model = tiny_model(family)
    by_hand = copy.deepcopy(model)
    ids = torch.randint(2, 300, (2, 16), generator=torch.Generator().manual_seed(0))
    for block in range(3):
        seen, handles = {}, []
        projections = find_anatomy(by_hand).of_block(block)
        for projection in projections:
            hook = lambda module, args, name=projection.name, seen=seen: seen.__setitem__(name, args[0])  # noqa: E731
            handles.append(projection.module.register_forward_pre_hook(hook))
        with torch.no_grad():
            by_hand(ids)
        for handle in handles:
            handle.remove()
        for projection in projections:
            norms = seen[projection.name].reshape(-1, projection.columns).double().norm(dim=0)
            metric = projection.weight.abs() * norms
            order = metric.argsort(dim=1, stable=True)[:, : projection.columns // 2]
            projection.weight.scatter_(1, order, 0.0)

    from pruning.calibrating.windows import Windows
    from pruning.collect.blockwise import Batch
    from pruning.job import Job
    from pruning.structures.none import WeightPruning

    windows = Windows((Batch(ids, torch.ones_like(ids, dtype=torch.bool)),), "test", 2, 2, 32, 16, 0)
    job = Job(model, find_anatomy(model), config(), lambda: windows)
    plan = WeightPruning().apply(job, WeightPruning().plan(job))
    assert same(model, by_hand.state_dict())
    masks = {entry.name: entry.mask_sha256 for entry in plan.projections}
    for projection in find_anatomy(model).projections:
        assert masks[projection.name] == mask_hash(projection.weight != 0)


def test_magnitude_reads_no_text(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")
    report = prune(model, tiny_tokenizer, config(method="magnitude", sparsity=0.3))
    assert report.calibration is None
    for entry, projection in zip(report.plan.projections, find_anatomy(model).projections, strict=True):
        assert int((projection.weight == 0).sum()) == entry.dropped == round(projection.weight.numel() * 0.3)


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:4"])
def test_n_m(tiny_model, tiny_tokenizer, method, pattern):
    model = tiny_model("gpt2")
    prune(model, tiny_tokenizer, config(method=method, pattern=pattern), calibration=TEXTS)
    kept, of = map(int, pattern.split(":"))
    for projection in find_anatomy(model).projections:
        assert ((projection.weight.reshape(-1, of) != 0).sum(1) == kept).all()


def test_a_pattern_that_does_not_fit_names_a_projection(tiny_model, tiny_tokenizer):
    model = tiny_model("llama", intermediate_size=62)
    before = snapshot(model)
    with pytest.raises(RequestError, match=r"3 of 21 projections \(model\.layers\.0\.mlp\.down_proj: 62 inputs"):
        prune(model, tiny_tokenizer, config(pattern="2:4"), calibration=TEXTS)
    assert same(model, before)


@pytest.mark.parametrize("settings", [{}, {"method": "magnitude"}, {"structure": "layers"}])
def test_sparsity_zero_changes_nothing(tiny_model, tiny_tokenizer, settings):
    model = tiny_model("llama")
    before = snapshot(model)
    report = prune(model, tiny_tokenizer, config(sparsity=0.0, **settings), calibration=TEXTS)
    assert same(model, before) and "Nothing was removed" in report.note


def test_the_dtype_is_kept(tiny_model, tiny_tokenizer):
    model = tiny_model("llama").to(torch.bfloat16)
    prune(model, tiny_tokenizer, config(), calibration=TEXTS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_it_is_repeatable_and_the_seed_counts(tiny_model, tiny_tokenizer):
    def hashes(seed: int) -> list[str]:
        report = prune(tiny_model("llama"), tiny_tokenizer, config(seed=seed), calibration=TEXTS)
        return [entry.mask_sha256 for entry in report.plan.projections]

    assert hashes(0) == hashes(0) != hashes(1)


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_a_weight_that_is_not_finite_is_named_and_the_model_put_back(tiny_model, tiny_tokenizer, method):
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[2, 3] = float("inf")
    before = snapshot(model)
    with pytest.raises(EspalierError, match=r"model\.layers\.1\.mlp\.down_proj"):
        prune(model, tiny_tokenizer, config(method=method), calibration=TEXTS)
    assert same(model, before)


@pytest.mark.parametrize("settings", [{}, {"method": "magnitude"}, {"structure": "layers", "sparsity": 0.4}])
@pytest.mark.parametrize("steps", [0, 3, 5, 99])
def test_cancelling_leaves_the_model_as_it_was(tiny_model, tiny_tokenizer, settings, steps):
    model = tiny_model("llama")
    before = snapshot(model)
    calls = 0

    def cancel(fraction: float, message: str) -> None:
        nonlocal calls
        calls += 1
        if calls > steps or fraction == 1.0:
            raise Cancelled

    with pytest.raises(Cancelled):
        prune(model, tiny_tokenizer, config(**settings), calibration=TEXTS, progress=cancel)
    assert same(model, before) and len(model.model.layers) == model.config.num_hidden_layers == 3
    assert [block.self_attn.layer_idx for block in model.model.layers] == [0, 1, 2]
    assert not any("forward" in block.__dict__ for block in model.model.layers)


def test_dead_channels_go_first_and_are_reported(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[0].input_layernorm.weight[:4] = 0
    report = prune(model, tiny_tokenizer, config(sparsity=0.25), calibration=TEXTS)
    entry = next(entry for entry in report.plan.projections if entry.name.endswith("layers.0.self_attn.q_proj"))
    assert entry.dead_inputs == 4
    assert (model.model.layers[0].self_attn.q_proj.weight[:, :4] == 0).all()
    assert any("zero on every calibration token" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"allocation": "owl"},
        {"method": "fisher", "solver": "refit", "pattern": "unstructured:global"},
        {"method": "gblm", "pattern": "2:4:permuted"},
        {"structure": "layers", "sparsity": 0.3},
    ],
)
def test_progress_rises_to_one(tiny_model, tiny_tokenizer, settings):
    fractions = []
    settings = PruningConfig(**settings, samples=4, sequence_length=16)
    prune(tiny_model("llama"), tiny_tokenizer, settings, TEXTS, lambda fraction, message: fractions.append(fraction))
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) > 5


def test_a_preview_changes_nothing_and_says_what_prune_then_does(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")
    before = snapshot(model)
    for settings in (config(), config(method="magnitude", sparsity=0.3), config(structure="layers", sparsity=0.4)):
        plan = preview(model, tiny_tokenizer, settings, TEXTS)
        assert same(model, before)
        done = prune(copy.deepcopy(model), tiny_tokenizer, settings, TEXTS).plan
        assert plan.dropped == done.dropped and plan.blocks == done.blocks
        assert Plan.from_dict(done.as_dict()) == done


def test_the_report_is_json(tiny_model, tiny_tokenizer):
    import json

    report = prune(tiny_model("llama"), tiny_tokenizer, config(), calibration=TEXTS)
    value = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert value["config"]["method"] == "wanda" and value["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "magnitude", "pattern": "2:4"},
        {"solver": "refit", "allocation": "owl"},
        {"structure": "layers", "sparsity": 0.4},
    ],
)
def test_a_plan_is_replayed_to_the_same_weights(tiny_model, tiny_tokenizer, settings):
    import json

    dense = tiny_model("llama")
    model = copy.deepcopy(dense)
    report = prune(model, tiny_tokenizer, config(**settings), calibration=TEXTS)
    again = copy.deepcopy(dense)
    replayed = replay(again, tiny_tokenizer, json.loads(json.dumps(report.as_dict())), calibration=TEXTS)
    assert same(again, model.state_dict()) and replayed.plan == report.plan

    plan = preview(dense, tiny_tokenizer, config(**settings), TEXTS)
    planned = {"config": config(**settings).as_dict(), "plan": plan.as_dict()}
    replay(dense, tiny_tokenizer, planned, calibration=TEXTS)
    assert same(dense, model.state_dict())


def test_a_plan_s_own_shares_are_what_goes(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")
    record = {"config": config().as_dict(), "plan": preview(model, tiny_tokenizer, config()).as_dict()}
    entry = record["plan"]["projections"][3]
    entry |= {"sparsity": 0.25, "dropped": entry["rows"] * entry["columns"] // 4}
    replay(model, tiny_tokenizer, record, calibration=TEXTS)
    zeros = [int((projection.weight == 0).sum()) for projection in find_anatomy(model).projections]
    assert zeros == [planned["dropped"] for planned in record["plan"]["projections"]]


def test_masks_that_come_out_otherwise_are_an_error_and_undone(tiny_model, tiny_tokenizer):
    record = prune(tiny_model("llama"), tiny_tokenizer, config(), calibration=TEXTS).as_dict()
    model = tiny_model("llama")
    before = snapshot(model)
    with pytest.raises(EspalierError, match=r"of 21 masks came out otherwise.*model\.layers\.0"):
        replay(model, tiny_tokenizer, record, calibration=["Something else altogether, of which there is much."] * 40)
    assert same(model, before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: record["plan"]["projections"].pop(), r"1 projections differ, such as model\.layers\.2\.mlp"),
        (lambda record: record["plan"].pop("structure"), "cannot be read"),
        (lambda record: record.pop("config"), "cannot be read"),
        (lambda record: record["config"].update(unheard=1), "cannot be read"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(tiny_model, tiny_tokenizer, change, says):
    model = tiny_model("llama")
    record = {"config": config().as_dict(), "plan": preview(model, tiny_tokenizer, config()).as_dict()}
    change(record)
    before = snapshot(model)
    with pytest.raises(RequestError, match=says):
        replay(model, tiny_tokenizer, record, calibration=TEXTS)
    assert same(model, before)


def test_a_forecast_counts_its_bytes_and_changes_nothing(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")
    before = snapshot(model)
    expected = forecast(model, config(), preview(model, tiny_tokenizer, config()))
    assert same(model, before)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert weights <= expected.model_bytes < weights * 1.1  # and some buffers
    assert expected.statistics_bytes == 2 * 8 * (6 * 32 + 64)  # column norms in fp64: six inputs of 32 and one of 64
    assert expected.activation_bytes == 4 * 16 * 32 * 4 and expected.seconds > 0
    assert expected.memory_bytes == expected.model_bytes + expected.statistics_bytes + expected.activation_bytes
    on_disk = forecast(model, config(), preview(model, tiny_tokenizer, config()), "disk")
    assert on_disk.memory_bytes == on_disk.model_bytes + on_disk.statistics_bytes

    by_size = config(method="magnitude")
    expected = forecast(model, by_size, preview(model, tiny_tokenizer, by_size))
    assert expected.statistics_bytes == expected.activation_bytes == 0 < expected.seconds


def test_activations_on_disk_change_no_bit_and_leave_no_file(tiny_model, tiny_tokenizer, tmp_path):
    in_memory, on_disk = tiny_model("llama").to(torch.bfloat16), tiny_model("llama").to(torch.bfloat16)
    prune(in_memory, tiny_tokenizer, config(), calibration=TEXTS)
    prune(on_disk, tiny_tokenizer, config(), calibration=TEXTS, activations=tmp_path)
    assert same(on_disk, in_memory.state_dict()) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", [entry.name for entry in registry.entries("method") if entry.structure == "none"])
@pytest.mark.parametrize("solver", ["none", "refit"])
def test_every_method_has_a_forecast(tiny_model, tiny_tokenizer, method, solver):
    model = tiny_model("llama")
    before = snapshot(model)
    settings = config(method=method, solver=solver)
    expected = forecast(model, settings, preview(model, tiny_tokenizer, settings, TEXTS))
    assert same(model, before) and expected.seconds > 0
    if solver == "refit":  # a Gram matrix in fp32 for each distinct input: three of 32 channels and one of 64
        assert expected.statistics_bytes >= 2 * 4 * (3 * 32**2 + 64**2)
