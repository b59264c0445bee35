"""A budget: what may be written, and that the pruned model keeps to it."""

import copy

import pytest

from models.errors import RequestError
from pruning import PruningConfig, prune
from pruning.anatomy.census import count_parameters
from pruning.budget import Budget

TEXTS = ["The gardener ties the young branches to the wall and cuts what grows away from it. " * 40]


@pytest.mark.parametrize(
    ("text", "amount", "in_bytes"),
    [
        ("3500000", 3_500_000, False),
        ("3.5M", 3_500_000, False),
        ("1.2 b", 1_200_000_000, False),
        (".5k", 500, False),
        ("900B", 900_000_000_000, False),
        ("900KB", 900_000, True),
        ("9MiB", 9 << 20, True),
        ("2gib", 2 << 30, True),
    ],
)
def test_what_is_written_is_what_is_meant(text, amount, in_bytes):
    assert Budget.parse(text) == Budget(amount, in_bytes)


@pytest.mark.parametrize(
    "settings", [{}, {"method": "magnitude"}, {"allocation": "owl"}, {"pattern": "unstructured:global"}]
)
@pytest.mark.parametrize("in_bytes", [False, True])
def test_the_pruned_model_keeps_to_the_budget(tiny_model, tiny_tokenizer, settings, in_bytes):
    model = tiny_model("llama")
    dense = count_parameters(model)
    aim = round(0.6 * (dense.bytes if in_bytes else dense.parameters))
    config = PruningConfig(budget=f"{aim / 1000}{'KB' if in_bytes else 'K'}", samples=4, sequence_length=32, **settings)
    assert config.sparsity is None
    report = prune(copy.deepcopy(model), tiny_tokenizer, config, TEXTS)
    rows = sum(entry.rows for entry in report.plan.projections)
    reached, size = (report.after.packed_bytes, 4) if in_bytes else (report.after.nonzero, 1)
    assert abs(reached - aim) <= rows / 2 * size
    assert 0 < report.config.sparsity < 1 and report.config.budget == config.budget
    # What is recorded says both, and that is no contradiction.
    again = prune(copy.deepcopy(model), tiny_tokenizer, PruningConfig(**report.config.as_dict()), TEXTS)
    assert [entry.mask_sha256 for entry in again.plan.projections] == [
        entry.mask_sha256 for entry in report.plan.projections
    ]


def test_packed_bytes_are_a_bit_a_weight_and_the_values_that_stay(tiny_model):
    model = tiny_model("llama")
    dense = count_parameters(model)
    assert dense.prunable_bytes == 4 * dense.prunable
    assert dense.packed_bytes == dense.bytes + dense.prunable // 8
    model.model.layers[0].mlp.up_proj.weight.data[0] = 0
    pruned = count_parameters(model)
    assert pruned.packed_bytes == dense.packed_bytes - 4 * model.config.hidden_size


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": "1B"}, "is within the budget of 1.00 B parameters already"),
        ({"budget": "1GB"}, "is within the budget"),
        ({"budget": "100"}, "cannot be met: .* are never pruned"),
        ({"budget": "1KB"}, "cannot be met: .* are never pruned"),
        ({"budget": "40K", "sparsity": 0.001}, "means a sparsity of .* for this model, not 0.001"),
    ],
)
def test_a_budget_that_makes_no_sense_for_the_model_is_refused(tiny_model, tiny_tokenizer, settings, says):
    with pytest.raises(RequestError, match=says):
        prune(tiny_model("llama"), tiny_tokenizer, PruningConfig(**settings), TEXTS)
