"""Fixtures for the tests of pruning: real layers with the statistics of real text."""

import pytest


@pytest.fixture(scope="session")
def embedded_layers():
    """(name, weight [R, C], statistics) of three projections of the embedded model, on its calibration text."""
    import torch

    from models import load
    from pruning import PruningConfig
    from pruning.anatomy.roles import find_anatomy
    from pruning.calibrating.windows import calibration_windows
    from pruning.collect.blockwise import BlockWalk
    from pruning.collect.statistics import InputStatistics

    model, tokenizer, _ = load("embedded", device="cpu", dtype="float32")
    anatomy = find_anatomy(model)
    windows = calibration_windows(model, tokenizer, PruningConfig(method="wanda", samples=24))
    chosen = [projection for projection in anatomy.of_block(1) if projection.role in ("k", "gate", "down")]
    statistics = InputStatistics(chosen, ("column_norms", "gram"))
    with BlockWalk(model, anatomy.blocks, windows.batches) as walk, torch.no_grad():
        walk.advance(0)
        with statistics:
            walk.run(1, before=statistics.begin)
    return [(entry.name, entry.weight.float().clone(), statistics.of(entry)) for entry in chosen]


@pytest.fixture(scope="session")
def livelier(tiny_model):
    """A tiny model whose parts all have a say: random weights as they are begun with leave the stream as it was."""
    import torch

    from pruning.anatomy.roles import find_anatomy

    def make(family: str, **options):
        model = tiny_model(family, **options)
        with torch.no_grad():
            for projection in find_anatomy(model).projections:
                projection.weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(projection.name)))
        return model

    return make
