"""The model that ships: half of every projection goes, nothing else is touched, and the words still come."""

import torch

from models import load
from models.decoding import Generation
from models.sampling import Sampling
from pruning import PruningConfig, prune
from pruning.anatomy.roles import find_anatomy


def test_wanda_halves_the_embedded_model():
    model, tokenizer, description = load("embedded", device="cpu")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = prune(model, tokenizer, PruningConfig(method="wanda", sparsity=0.5, samples=16))
    projections = {f"{projection.name}.weight" for projection in find_anatomy(model).projections}
    for name, tensor in model.state_dict().items():
        if name in projections:
            assert abs(float((tensor == 0).float().mean()) - 0.5) < 0.001
        else:
            assert torch.equal(tensor, before[name])
    assert report.calibration["tokens"] > 5000
    assert report.before.parameters == description.parameters
    assert Generation(model, tokenizer, "The river", Sampling(max_new_tokens=8)).run().text.strip()
