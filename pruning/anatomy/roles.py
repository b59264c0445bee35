"""What the parts of a decoder are: its blocks, and in them every projection with its role.

The blocks are found by structure: the list of modules that holds most of the parameters. This is the only file
that knows attribute names, in one small table; a family whose names are all in it needs no line.
"""

import re
from collections.abc import Iterable
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
    # Multi-head latent attention (DeepSeek): queries, and keys with values, each through a narrow latent vector.
    "q_a_proj": "q_a", "q_b_proj": "q_b", "kv_a_proj_with_mqa": "kv_a", "kv_b_proj": "kv_b",
    "gate_proj": "gate", "up_proj": "up", "down_proj": "down", "gate_up_proj": "gate_up",
    "c_fc": "up", "mlp.c_proj": "down", "fc1": "up", "fc2": "down", "fc_in": "up", "fc_out": "down",
    "dense_h_to_4h": "up", "dense_4h_to_h": "down",
    "w1": "gate", "w3": "up", "w2": "down",
    "router": "router", "gate": "router", "shared_expert_gate": "router",
}  # fmt: skip
# Parameters that hold one matrix per expert: [E, R, C], or [E, C, R] in gpt-oss.
EXPERT_ROLES = {"gate_up_proj": "expert_gate_up", "down_proj": "expert_down"}
# The norms of a block whose parts follow each other as Llama's do, by the last part of their names.
NORMS = {"input_layernorm": "attention", "post_attention_layernorm": "mlp", "q_norm": "q", "k_norm": "k"}
NEVER_PRUNED = frozenset({"router"})  # a router chooses experts: a wrong choice costs far more than it weighs
# How a part of a block calls the block's number.
PLACE = re.compile("layer|block|idx|index|^id$")

REMEDY = "Use a Llama, Qwen, Mistral, Gemma, Phi, GPT-2 or Mixtral kind of model."


class UnknownArchitecture(RequestError):
    """The model has parts whose role is not known; the text names them."""


@dataclass(frozen=True)
class Projection:
    """A matrix multiplication in a block: its full name, the block's index, its role, and where its weight lies.

    The weight is the parameter `parameter_name` of the model, which `module` holds; where that parameter holds the
    matrices of many experts, it is the one of `expert`. `transposed`: stored as [C, R] (GPT-2's Conv1D, gpt-oss).
    """

    name: str
    block: int
    role: str
    module: nn.Module
    transposed: bool
    parameter_name: str
    expert: int | None = None

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that holds the weight, as the model stores it."""
        return getattr(self.module, self.parameter_name.rpartition(".")[2])

    def part(self, tensor: torch.Tensor) -> torch.Tensor:
        """What is this projection's in a tensor shaped like `parameter` (a gradient, say): a view [R, C]."""
        own = tensor if self.expert is None else tensor[self.expert]
        return own.t() if self.transposed else own

    @property
    def weight(self) -> torch.Tensor:
        """The weight as [R, C], outputs by inputs, however it is stored: a view, so that writing into it counts."""
        return self.part(self.parameter.detach())

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
    """A decoder's blocks (the list itself and its name in the model) and what may be pruned in them.

    routers: the names of the parameters in the blocks that choose experts; they are never pruned.
    """

    path: str
    blocks: nn.ModuleList
    projections: tuple[Projection, ...]
    routers: tuple[str, ...] = ()

    def of_block(self, index: int) -> list[Projection]:
        """The prunable projections of one block, in the order the model holds them."""
        return [projection for projection in self.projections if projection.block == index]


def find_anatomy(model: nn.Module) -> Anatomy:
    """Finds the decoder blocks and the prunable projections of a causal language model of transformers.

    Raises UnknownArchitecture, with all that was not recognised, rather than prune only what it happens to know;
    RequestError for a packed model.
    """
    from pruning.packing.linear import PackedLinear

    if any(isinstance(module, PackedLinear) for module in model.modules()):
        raise RequestError("The model is packed: unpack it first (python -m pruning unpack DIR --out DIR).")
    path, blocks = find_blocks(model)
    projections: list[Projection] = []
    routers: list[str] = []
    unknown: dict[tuple[str, str], list[int]] = {}  # a part and its shape, and the blocks that have it
    for index, block in enumerate(blocks):
        for name, module in block.named_modules():
            for attribute, parameter in module.named_parameters(recurse=False):
                if parameter.ndim < 2 or attribute.endswith("bias"):  # those of experts are [E, R]
                    continue
                part = _Part(f"{path}.{index}", index, name, module, attribute, parameter)
                if role_of(name) in NEVER_PRUNED:
                    routers.append(part.parameter_name)
                elif found := part.projections():
                    projections += found
                else:
                    unknown.setdefault(part.account, []).append(index)
    if unknown:
        parts = "; ".join(_account(path, *part, indices) for part, indices in unknown.items())
        raise UnknownArchitecture(
            f"{type(model).__name__} is not supported yet, since parts of it are not recognised: {parts}. {REMEDY}"
        )
    return Anatomy(path, blocks, tuple(projections), tuple(routers))


def place_names(blocks: Iterable[nn.Module]) -> set[str]:
    """The attributes by which blocks and their parts know their number: in all blocks they are it."""
    equal: dict[str, bool] = {}
    for index, block in enumerate(blocks):
        for module in block.modules():
            for name, value in vars(module).items():
                if PLACE.search(name) and isinstance(value, int) and not isinstance(value, bool):
                    equal[name] = equal.get(name, True) and value == index
    return {name for name, holds in equal.items() if holds}


def renumber(block: nn.Module, index: int, names: Iterable[str]) -> None:
    """Tells a block and its parts, by these attributes, their number, which is their place in the key-value cache."""
    for module in block.modules():
        for name in names:
            if name in vars(module):
                setattr(module, name, index)


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of decoder blocks, and its name in the model. UnknownArchitecture if there is no list of modules."""
    best, most = None, 0
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            parameters = sum(parameter.numel() for parameter in module.parameters())
            if parameters > most:  # of two lists with the same parameters the outer one comes first
                best, most = (path, module), parameters
    if best is None:
        raise UnknownArchitecture(f"{type(model).__name__} is not supported: it has no list of blocks. {REMEDY}")
    return best


@dataclass(frozen=True)
class _Part:
    """A parameter of two or more dimensions in a block, and what is known of it."""

    block_name: str
    block: int
    name: str  # of the module, within the block
    module: nn.Module
    attribute: str
    parameter: nn.Parameter

    @property
    def module_name(self) -> str:
        return f"{self.block_name}.{self.name}" if self.name else self.block_name

    @property
    def parameter_name(self) -> str:
        return f"{self.module_name}.{self.attribute}"

    @property
    def is_matrix(self) -> bool:
        """Whether it is the weight of a Linear or a Conv1D, in floating point."""
        from transformers.pytorch_utils import Conv1D

        kind = isinstance(self.module, (nn.Linear, Conv1D)) and self.attribute == "weight"
        return kind and self.parameter.ndim == 2 and self.parameter.is_floating_point()

    def projections(self) -> list[Projection]:
        """The projections it holds: one, one of every expert, or none where it is not recognised."""
        if self.is_matrix:
            role = role_of(self.name)
            transposed = not isinstance(self.module, nn.Linear)
            found = Projection(self.module_name, self.block, role, self.module, transposed, self.parameter_name)
            return [found] if role else []
        role, transposed = EXPERT_ROLES.get(self.attribute), _experts_transposed(self.module)
        if role is None or transposed is None:
            return []
        return [
            Projection(
                name=f"{self.module_name}.{expert}.{self.attribute}",
                block=self.block,
                role=role,
                module=self.module,
                transposed=transposed,
                parameter_name=self.parameter_name,
                expert=expert,
            )
            for expert in range(self.parameter.shape[0])
        ]

    @property
    def account(self) -> tuple[str, str]:
        """What it is called within the block, and what it is."""
        if not self.is_matrix:
            shape = "x".join(map(str, self.parameter.shape))
            return f"{self.name}.{self.attribute}".lstrip("."), f"{shape} in a {type(self.module).__name__}"
        rows, columns = self.parameter.shape if isinstance(self.module, nn.Linear) else self.parameter.shape[::-1]
        return self.name, f"{rows} outputs, {columns} inputs"


def _experts_transposed(module: nn.Module) -> bool | None:
    """Whether a module that holds gate_up_proj and down_proj of E experts stores them as [E, C, R]; None if neither."""
    up, down = (getattr(module, attribute, None) for attribute in EXPERT_ROLES)
    if not all(isinstance(part, nn.Parameter) and part.ndim == 3 and part.is_floating_point() for part in (up, down)):
        return None
    # With H hidden and I inner channels: [E, 2I, H] and [E, H, I], or [E, H, 2I] and [E, I, H]. Never both.
    if (up.shape[1], up.shape[2]) == (2 * down.shape[2], down.shape[1]):
        return False
    if (up.shape[1], up.shape[2]) == (down.shape[2], 2 * down.shape[1]):
        return True
    return None


def _account(path: str, part: str, what: str, blocks: list[int]) -> str:
    more = f", likewise in {len(blocks) - 1} more" if len(blocks) > 1 else ""
    return f"{path}.{blocks[0]}.{part} ({what}{more})"


def role_of(name: str) -> str | None:
    """The role of a projection by its name; None if it is not known."""
    parts = name.split(".")
    return ROLES.get(".".join(parts[-2:])) or ROLES.get(parts[-1])
