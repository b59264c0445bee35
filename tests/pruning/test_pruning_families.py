"""Every family from end to end: understood, pruned to exactly half, the rest untouched, and the same once saved."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from pruning import PruningConfig, prune
from pruning.anatomy.roles import find_anatomy

LLAMA = {"q": 3, "k": 3, "v": 3, "o": 3, "gate": 3, "up": 3, "down": 3}
FUSED = {"qkv": 3, "o": 3, "up": 3, "down": 3}
PLAIN = {"q": 3, "k": 3, "v": 3, "o": 3, "up": 3, "down": 3}
EXPERTS = {"q": 3, "k": 3, "v": 3, "o": 3, "expert_gate_up": 12, "expert_down": 12}
# DeepSeek here: the first block dense, the other two with 4 experts and a shared one.
LATENT = {
    "q_a": 3, "q_b": 3, "kv_a": 3, "kv_b": 3, "o": 3, "gate": 3, "up": 3, "down": 3,
    "expert_gate_up": 8, "expert_down": 8,
}  # fmt: skip
EXPECTED = {
    "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA, "gemma": LLAMA, "gemma2": LLAMA,
    "gemma3_text": LLAMA, "phi": PLAIN, "phi3": {"qkv": 3, "o": 3, "gate_up": 3, "down": 3}, "smollm3": LLAMA,
    "olmo2": LLAMA, "stablelm": LLAMA, "granite": LLAMA, "cohere": LLAMA, "starcoder2": PLAIN,
    "glm4": {"q": 3, "k": 3, "v": 3, "o": 3, "gate_up": 3, "down": 3},
    "gpt2": FUSED, "gpt_neox": FUSED, "gptj": PLAIN, "opt": PLAIN, "bloom": FUSED, "falcon": FUSED, "mpt": FUSED,
    "mixtral": EXPERTS, "qwen2_moe": EXPERTS | {"gate": 3, "up": 3, "down": 3}, "qwen3_moe": EXPERTS,
    "olmoe": EXPERTS, "deepseek_v2": LATENT, "deepseek_v3": LATENT, "gpt_oss": EXPERTS,
}  # fmt: skip
MIXTURES = ["mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3", "gpt_oss"]
TEXTS = ["The gardener ties the young branches to the wall, and cuts what grows away from it. "] * 30


def quick(method: str = "wanda", **settings) -> PruningConfig:
    return PruningConfig(method=method, samples=6, sequence_length=32, **settings)


def counts(anatomy) -> dict[str, int]:
    roles = [projection.role for projection in anatomy.projections]
    return {role: roles.count(role) for role in roles}


@pytest.mark.parametrize("family", EXPECTED)
def test_a_family_is_understood_and_pruned_to_exactly_half(tiny_model, tiny_tokenizer, family):
    model = tiny_model(family)
    anatomy = find_anatomy(model)
    assert len(anatomy.blocks) == 3 and counts(anatomy) == EXPECTED[family]
    # Every matrix of the blocks has a role or is a router, and each number of it belongs to one projection.
    inside = [entry for entry in model.named_parameters() if entry[0].startswith(f"{anatomy.path}.")]
    held = {name: parameter for name, parameter in inside if parameter.ndim > 1 and not name.endswith("bias")}
    named = {projection.parameter_name for projection in anatomy.projections}
    assert named | set(anatomy.routers) == set(held)
    assert sum(projection.weight.numel() for projection in anatomy.projections) == sum(held[n].numel() for n in named)
    assert bool(anatomy.routers) == (family in MIXTURES)

    dense = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = prune(model, tiny_tokenizer, quick(), TEXTS)
    assert not report.warnings
    for projection in anatomy.projections:
        zeros = (projection.weight == 0).sum(dim=1)
        assert (zeros == projection.columns // 2).all(), projection.name
    for name, tensor in model.state_dict().items():
        if name not in named:
            assert torch.equal(tensor, dense[name]), name


@pytest.mark.parametrize("family", EXPECTED)
def test_keeping_everything_and_saving_changes_nothing(tiny_model, tiny_tokenizer, tmp_path, family):
    model = tiny_model(family)
    ids = torch.tensor([tiny_tokenizer("The tree bears fruit")["input_ids"]])

    def answer(of) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            logits = of(input_ids=ids, use_cache=False).logits
        return logits, of.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)

    before = answer(model)
    prune(model, tiny_tokenizer, quick(sparsity=0.0), TEXTS)
    assert all(torch.equal(*pair) for pair in zip(before, answer(model), strict=True))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert all(torch.equal(*pair) for pair in zip(before, answer(loaded), strict=True))
    for projection in find_anatomy(loaded).projections:  # the reload check asks for them by these names
        name = projection.parameter_name
        assert torch.equal(loaded.get_parameter(name), model.get_parameter(name))
