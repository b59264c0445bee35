"""The shape of the embedded model: a small Llama with grouped-query attention that stock transformers loads."""

import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def new_model(tokenizer: PreTrainedTokenizerFast, context: int = 512, seed: int = 0) -> LlamaForCausalLM:
    """A freshly initialised embedded model in fp32: 5.8 M parameters at a vocabulary of 4096.

    Weights are N(0, 0.02); the two projections that write to the residual stream start smaller by 1/sqrt(2 layers)
    (GPT-2, section 2.3), so that its variance does not grow with depth.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.mul_(1 / math.sqrt(2 * config.num_hidden_layers))
    return model
