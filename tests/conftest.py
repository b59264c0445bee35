"""Shared fixtures: tiny real models of transformers, their tokenizer, and the real command lines."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared: two threads of two workers each would wait for another
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_ANALYTICS_ENABLED="False")

import subprocess
import sys
import tempfile
from pathlib import Path

# What was fetched before is not fetched again for the tests that need it; all others see an empty cache.
os.environ.setdefault("ESPALIER_TEST_CACHE", os.environ.get("ESPALIER_CACHE", ""))
os.environ["ESPALIER_CACHE"] = tempfile.mkdtemp(prefix="espalier-tests-")
os.environ["ESPALIER_NO_FETCH"] = "1"  # what a page starts by itself; the tests of fetching allow it

import pytest

ROOT = Path(__file__).parent.parent

# Configurations small enough that a forward pass takes a millisecond; every one has two or more heads and layers.
LLAMA_LIKE = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=128,
)  # fmt: skip
LATENT = LLAMA_LIKE | dict(
    num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8,
    n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=24, first_k_dense_replace=1,
)  # fmt: skip
FAMILIES = {
    "llama": LLAMA_LIKE,
    "mistral": LLAMA_LIKE,
    "qwen2": LLAMA_LIKE,
    "qwen3": LLAMA_LIKE | dict(head_dim=8),
    "gemma2": LLAMA_LIKE | dict(head_dim=8),
    "phi3": LLAMA_LIKE | dict(pad_token_id=1),
    "gpt2": dict(n_embd=32, n_layer=3, n_head=4, n_positions=128),
    "gpt_neox": dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=128
    ),
    "opt": dict(
        hidden_size=32, ffn_dim=64, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=128,
        word_embed_proj_dim=32,
    ),
    "bloom": dict(hidden_size=32, n_layer=3, n_head=4),
    "gemma": LLAMA_LIKE | dict(head_dim=8),
    "gemma3_text": LLAMA_LIKE | dict(head_dim=8),
    "phi": LLAMA_LIKE | dict(pad_token_id=1),
    "smollm3": LLAMA_LIKE | dict(pad_token_id=1),
    "olmo2": LLAMA_LIKE,
    "stablelm": LLAMA_LIKE | dict(pad_token_id=1),
    "granite": LLAMA_LIKE,
    "gptj": dict(n_embd=32, n_layer=3, n_head=4, n_positions=128, rotary_dim=4),
    "falcon": dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=128),
    "mpt": dict(d_model=32, n_layers=3, n_heads=4, max_seq_len=128),
    "cohere": LLAMA_LIKE,
    "starcoder2": LLAMA_LIKE,
    "glm4": LLAMA_LIKE | dict(head_dim=8, pad_token_id=1),
    "mixtral": LLAMA_LIKE | dict(num_local_experts=4, num_experts_per_tok=2),
    "qwen2_moe": LLAMA_LIKE | dict(
        num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=40
    ),
    "qwen3_moe": LLAMA_LIKE | dict(head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24),
    "olmoe": LLAMA_LIKE | dict(num_experts=4, num_experts_per_tok=2, pad_token_id=1),
    "deepseek_v2": LATENT | dict(topk_method="greedy"),
    "deepseek_v3": LATENT | dict(n_group=2, topk_group=1),
    "gpt_oss": LLAMA_LIKE | dict(head_dim=8, num_local_experts=4, num_experts_per_tok=2),
}  # fmt: skip
TEXTS = [
    "The gardener ties the young branches to the wall and cuts what grows away from it.",
    "A tree that is pruned well bears more fruit than one that is left to itself.",
    "Café crème für 12 Gäste, 在花园里 the cat's asleep; isn't it?",
] * 20


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level BPE of 320 entries, trained on a few sentences."""
    from training.tokenizer import train_tokenizer

    return train_tokenizer(TEXTS, 320)


@pytest.fixture(scope="session")
def tiny_chat_tokenizer(tiny_tokenizer):
    """The same with a chat template, in which every turn ends with the end of the text."""
    import copy

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = (
        "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer):
    """A factory of random fp32 models in eval mode: `tiny_model("gpt2", n_layer=2)`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def make(family: str = "llama", seed: int = 0, **options):
        config = AutoConfig.for_model(
            family, vocab_size=len(tiny_tokenizer), bos_token_id=0, eos_token_id=0, **FAMILIES[family] | options
        )
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()

    return make


@pytest.fixture(scope="session")
def tiny_folder(tiny_model, tiny_tokenizer, tiny_chat_tokenizer, tmp_path_factory):
    """A factory of saved tiny models with their tokenizer: `tiny_folder("llama") -> Path`; with `chat`, one that chats."""

    def make(family: str = "llama", seed: int = 0, chat: bool = False, **options) -> Path:
        folder = tmp_path_factory.mktemp(family) / "model"
        tiny_model(family, seed, **options).save_pretrained(folder)
        (tiny_chat_tokenizer if chat else tiny_tokenizer).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def run_cli():
    """Runs `python -m ...` (or `python FILE ...`) as a person would and returns the completed process."""

    def run(*arguments, timeout: float = 120, **environment) -> subprocess.CompletedProcess:
        words = [str(argument) for argument in arguments]
        start = [] if words[0].endswith(".py") else ["-m"]
        return subprocess.run(
            [sys.executable, *start, *words],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def unchecked(monkeypatch):
    """Saved folders are not loaded again in a fresh process: that takes seconds, and has tests of its own."""
    monkeypatch.setattr("pruning.saved.saving.check_reload", lambda *_: None)
