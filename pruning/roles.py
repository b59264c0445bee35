"""What the parts of a decoder are: its blocks, and in them every projection with its role.

The blocks are found by structure: the list of like modules that holds most of the parameters. This is the only file
that knows attribute names, in one small table; a family whose names are all in it needs no line.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from models.errors import RequestError

# The last part of a projection's name, or the last two where one would be ambiguous, and what it does.
ROLES = {
    "q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "out_proj": "o",
    "attention.dense": "o", "self_attention.dense": "o", "self_attn.dense": "o",
    "c_attn": "qkv", "attn.c_proj": "o", "self_attn.c_proj": "o",
    "qkv_proj": "qkv", "query_key_value": "qkv", "Wqkv": "qkv",
    "gate_proj": "gate", "up_proj": "up", "down_proj": "down", "gate_up_proj": "gate_up",
    "c_fc": "up", "mlp.c_proj": "down", "fc1": "up", "fc2": "down", "fc_in": "up", "fc_out": "down",
    "dense_h_to_4h": "up", "dense_4h_to_h": "down",
    "w1": "gate", "w3": "up", "w2": "down",
    "router": "router", "gate": "router",
}  # fmt: skip
NEVER_PRUNED = frozenset({"router"})  # a router chooses experts: a wrong choice costs far more than it weighs
# Configuration entries that hold one item per block.
PER_BLOCK_LISTS = ("layer_types", "no_rope_layers", "mlp_layer_types", "layers_block_type", "attention_layers")

REMEDY = "Use a Llama, Qwen, Mistral, Gemma, Phi or GPT-2 kind of model."


class UnknownArchitecture(RequestError):
    """The model has parts whose role is not known; the text names them."""


@dataclass(frozen=True)
class Projection:
    """A matrix multiplication in a block: its full name, the block's index, its role and its module."""

    name: str
    block: int
    role: str
    module: nn.Module
    transposed: bool  # GPT-2's Conv1D stores [C, R]

    @property
    def weight(self) -> torch.Tensor:
        """The weight as [R, C], outputs by inputs, whatever the module: a view, so that writing into it counts."""
        weight = self.module.weight.detach()
        return weight.t() if self.transposed else weight

    @property
    def rows(self) -> int:
        """R, the number of outputs."""
        return self.weight.shape[0]

    @property
    def columns(self) -> int:
        """C, the number of inputs."""
        return self.weight.shape[1]


@dataclass(frozen=True)
class Anatomy:
    """A decoder's blocks (the list itself and its name in the model) and what may be pruned in them."""

    path: str
    blocks: nn.ModuleList
    projections: tuple[Projection, ...]

    def of_block(self, index: int) -> list[Projection]:
        """The prunable projections of one block, in the order the model holds them."""
        return [projection for projection in self.projections if projection.block == index]


def find_anatomy(model: nn.Module) -> Anatomy:
    """Finds the decoder blocks and the prunable projections of a causal language model of transformers.

    Raises UnknownArchitecture, with what was not recognised, rather than prune only what it happens to know.
    """
    path, blocks = _find_blocks(model)
    projections = []
    for index, block in enumerate(blocks):
        prefix = f"{path}.{index}."
        for name, module, transposed in _matrices(model, prefix, block):
            role = _role(name)
            if role is None:
                rows, columns = module.weight.shape[::-1] if transposed else module.weight.shape
                raise UnknownArchitecture(
                    f"{type(model).__name__} is not supported yet: the role of {prefix}{name} ({rows} outputs, "
                    f"{columns} inputs) is not recognised. {REMEDY}"
                )
            if role not in NEVER_PRUNED:
                projections.append(Projection(prefix + name, index, role, module, transposed))
    return Anatomy(path, blocks, tuple(projections))


def per_block_lists(config) -> dict[str, list]:
    """The entries of a configuration that hold one item per block, by name."""
    entries = config.to_dict()
    length = config.num_hidden_layers
    return {
        name: list(entries[name])
        for name in PER_BLOCK_LISTS
        if isinstance(entries.get(name), (list, tuple)) and len(entries[name]) == length
    }


def renumber(block: nn.Module, index: int) -> None:
    """Tells a block and its parts their place among the blocks, which is their place in the key-value cache."""
    for module in block.modules():
        if isinstance(getattr(module, "layer_idx", None), int):
            module.layer_idx = index


def _find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    best, most = None, 0
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len({type(child) for child in module}) == 1:
            parameters = sum(parameter.numel() for parameter in module.parameters())
            if parameters > most:  # of two lists with the same parameters the outer one comes first
                best, most = (path, module), parameters
    if best is None:
        raise UnknownArchitecture(
            f"{type(model).__name__} is not supported: it has no list of like blocks. {REMEDY}"
        )
    return best


def _matrices(model: nn.Module, prefix: str, block: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Every matrix of a block: name within the block, module, whether it is stored as [C, R]."""
    from transformers.pytorch_utils import Conv1D

    for name, module in block.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim < 2:
                continue
            known = isinstance(module, (nn.Linear, Conv1D)) and parameter_name == "weight"
            if known and parameter.ndim == 2 and parameter.is_floating_point():
                yield name, module, isinstance(module, Conv1D)
            elif _role(name) not in NEVER_PRUNED:
                full = f"{prefix}{name}.{parameter_name}"
                raise UnknownArchitecture(
                    f"{type(model).__name__} is not supported yet: {full}, a {type(module).__name__} of "
                    f"{'x'.join(map(str, parameter.shape))}, is not recognised. {REMEDY}"
                )


def _role(name: str) -> str | None:
    parts = name.split(".")
    return ROLES.get(".".join(parts[-2:])) or ROLES.get(parts[-1])
