"""What the packed layouts of a model take and how fast they write, in turns with the dense model in transformers."""

from collections.abc import Mapping

import torch

from benchmarks.packed_decode import generate
from models import Loaded
from models.memory import parameter_bytes
from pruning.packing.fast_path import require_fast_path
from pruning.packing.layout import in_layout

PLAIN = "transformers, dense"
LAYOUTS = ("auto", "int8")
DENSE_LAYOUTS = ("dense", "int8")
PROMPT, TOKENS = 16, 32


def packed(dense: Loaded, model: Loaded, turns: int) -> dict[str, dict]:
    """By layout the bytes in memory and the tokens a second of every turn; `PLAIN` is what they are compared with."""
    layouts = DENSE_LAYOUTS if model is dense else LAYOUTS
    contenders = {PLAIN: dense.model} | {layout: in_layout(model.model, layout) for layout in layouts}
    for layout in layouts:
        require_fast_path(layout, contenders[layout])
    rates = in_turns(contenders, _prompt(dense), turns)
    return {name: {"bytes": parameter_bytes(each), "rates": rates[name]} for name, each in contenders.items()}


def in_turns(contenders: Mapping[str, torch.nn.Module], ids: torch.Tensor, turns: int) -> dict[str, list[float]]:
    """Tokens a second of each, `turns` times one after the other, after a turn that is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(-1, turns):
        for name, model in contenders.items():
            rate = generate(model, ids, TOKENS)[0]
            if turn >= 0:
                rates[name].append(rate)
    return rates


def _prompt(loaded: Loaded) -> torch.Tensor:
    text = "The old city lies on a river that comes down from the hills in the north, and " * 3
    return torch.tensor(loaded.tokenizer(text).input_ids)[None, :PROMPT]
