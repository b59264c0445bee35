"""The shapes of the models trained here: small Llamas with grouped-query attention that stock transformers loads."""

import math

from models.errors import RequestError

# Named by their parameters at a vocabulary of 4096. Two query heads share one of keys and values.
SHAPES = {
    "6M": dict(hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=8),
    "20M": dict(hidden_size=384, intermediate_size=1024, num_hidden_layers=11, num_attention_heads=6),
}


def new_model(tokenizer, shape: str = "6M", context: int = 512, seed: int = 0):
    """A freshly initialised LlamaForCausalLM in fp32, of one of the `SHAPES`; RequestError for another name.

    Weights are N(0, 0.02); the two projections that write to the residual stream start smaller by 1/sqrt(2 layers)
    (GPT-2, section 2.3), so that its variance does not grow with depth.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if shape not in SHAPES:
        raise RequestError(f"Unknown shape {shape!r}: use one of {', '.join(SHAPES)}.")
    sizes = SHAPES[shape]
    config = LlamaConfig(
        **sizes,
        vocab_size=len(tokenizer),
        num_key_value_heads=sizes["num_attention_heads"] // 2,
        head_dim=sizes["hidden_size"] // sizes["num_attention_heads"],
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
