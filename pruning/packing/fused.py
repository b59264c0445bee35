"""Decoder blocks of the Llama kind that write a token in two calls of the compiled kernels.

One token after another, the thousand small operators around a small model's matrices take longer than these. `fuse` changes the
class of each block that has the parts it knows to one that computes a single token by `kernels/block.cpp`, and
everything else as before. Before the first such token a block is held against the one it stands for, on random numbers:
where they differ, as for a family that adds something of its own, it stays as it was.
"""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import nn
from torch.nn.modules import module as hooks

from models.errors import first_line
from models.forward.cache_argument import name_in
from pruning.anatomy.roles import NORMS, find_blocks, role_of
from pruning.packing.kernels import kernels, state
from pruning.packing.kernels.library import THREADS
from pruning.packing.linear import PackedLinear

MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
# Of the largest difference that a block makes to its input: rounding, and the 16 bits of inputs to int8 products.
TOLERANCE = {torch.bfloat16: 0.04, torch.float16: 0.01, torch.float32: 0.002}


def fuse(model: nn.Module) -> int:
    """Changes the class of every block of a packed model that has the right parts; returns how many."""
    blocks = [block for block in find_blocks(model)[1] if not isinstance(block, FusedBlock)]
    found = [(block, Parts.of(block)) for block in blocks]
    for block, parts in found:
        if isinstance(parts, Parts):
            block.__class__ = _fused_class(type(block))
            block.__dict__["fused"] = parts
    return sum(isinstance(parts, Parts) for _, parts in found)


def unfuse(model: nn.Module) -> None:
    """Gives the blocks their own classes back."""
    for block in [module for module in model.modules() if isinstance(module, FusedBlock)]:
        block.__class__ = block.plain
        del block.__dict__["fused"]


@cache
def _fused_class(plain: type[nn.Module]) -> type[nn.Module]:
    # The same name, by which transformers knows the blocks that must stay on one device.
    return type(plain.__name__, (FusedBlock, plain), {"plain": plain, "cache_name": name_in(plain.forward)})


def _rebuild(plain: type[nn.Module]) -> nn.Module:
    fused = _fused_class(plain)
    return fused.__new__(fused)


class FusedBlock(nn.Module):
    """Stands before a block's own class, `plain`. `fused` is what it needs to know.

    cache_name: what that class calls the keys and values of earlier tokens, which changed with transformers' versions.
    """

    plain: type[nn.Module]
    cache_name: str

    def forward(self, hidden_states, attention_mask=None, position_ids=None, position_embeddings=None, **options):
        """The block's output. Without a mask and for one token by the kernels: keys and values go through the cache."""
        one_token = attention_mask is None and hidden_states.shape[:2] == (1, 1)
        if one_token and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            whole = self.fused.ready(self, hidden_states, position_embeddings, options)
            if whole is not None:
                query, keys, values = whole.begin(hidden_states, *position_embeddings)
                past = options.get(self.cache_name)
                if past is not None:
                    # Older releases of transformers tell the cache which position it fills.
                    told = [{"cache_position": options["cache_position"]}] if "cache_position" in options else []
                    keys, values = past.update(keys, values, self.fused.attention.layer_idx, *told)
                return whole.finish(hidden_states, query, keys, values)
        return super().forward(
            hidden_states,
            attention_mask=attention_mask,
            position_ids=position_ids,
            position_embeddings=position_embeddings,
            **options,
        )

    def __reduce_ex__(self, protocol):
        return _rebuild, (self.plain,), self.__dict__


@dataclass
class Parts:
    """The parts of one block, and the compiled block that was made of them.

    matrices: by MATRICES. norms: weights before attention and MLP, of query and key heads (or None), with epsilons.
    containers: what the modules hold of modules, and their hooks, to see that nobody has put anything between them.
    """

    attention: nn.Module
    matrices: list[PackedLinear]
    norms: list[nn.Module | None]
    containers: list[tuple[dict, list]]
    hooks: list[dict]
    whole: object = None  # a compiled block, or in words why there is none
    made_of: list = field(default_factory=list)

    def __getstate__(self):
        return {**self.__dict__, "whole": None, "made_of": []}  # compiled blocks are made anew where they are needed

    @classmethod
    def of(cls, block: nn.Module) -> Parts | str:
        """The parts of a block, or in words what it has that is not known, or lacks."""
        matrices, norms, attention = {}, {}, None
        own = ""
        for name, module in itertools.islice(block.named_modules(), 1, None):
            last = name.rpartition(".")[2]
            if isinstance(module, PackedLinear):
                matrices[role_of(name)] = module
            elif last in NORMS and hasattr(module, "weight") and _epsilon(module) is not None:
                norms[NORMS[last]] = module
            elif all(hasattr(module, name) for name in ("config", "scaling", "layer_idx", "head_dim")):
                attention = module
            elif not isinstance(module, nn.SiLU) and any(True for _ in module.parameters(recurse=False)):
                own = own or name
        if lacking := [role for role in MATRICES if role not in matrices]:
            return f"{type(block).__name__} has no packed {', '.join(lacking)}"
        if own:
            return f"{type(block).__name__} has weights of its own in {own}"
        rest = {"attention", "mlp"} <= set(norms) and ("q" in norms) == ("k" in norms)
        if attention is None or not rest or set(matrices) != set(MATRICES) or len(norms) not in (2, 4):
            return f"{type(block).__name__} is put together in another way than a Llama block"
        inner = list(itertools.islice(block.modules(), 1, None))
        return cls(
            attention,
            [matrices[role] for role in MATRICES],
            [norms.get(place) for place in ("attention", "mlp", "q", "k")],
            [(module._modules, list(module._modules.values())) for module in block.modules() if module._modules],
            [held for module in inner for held in (module._forward_hooks, module._forward_pre_hooks)],
        )

    def ready(self, block: FusedBlock, x: torch.Tensor, position_embeddings, options: dict):
        """The compiled block for this call; None if it is to be left to the block's own class."""
        found = self.find(block, x, position_embeddings, options)
        return None if isinstance(found, str) else found

    def find(self, block: FusedBlock, x: torch.Tensor, position_embeddings, options: dict):
        """The compiled block for this call, or in words why it is left to the block's own class."""
        if not x.is_cpu:
            return f"the model is on {x.device.type}"
        if block.training:
            return "the model is in training mode"
        if position_embeddings is None:
            return "no rotary embeddings are passed to the block"
        if any(self.hooks) or hooks._global_forward_hooks or hooks._global_forward_pre_hooks:
            return "hooks are on its modules"
        for name, value in options.items():
            if value is not None and name not in (block.cache_name, "use_cache", "cache_position"):
                return f"the block is called with {name}"
        if self.attention.config._attn_implementation != "sdpa":
            return f"the attention is {self.attention.config._attn_implementation}, not sdpa"
        for held, modules in self.containers:
            if [*held.values()] != modules:
                return "modules of the block were replaced"
        if not self.made_of or not all(map(operator.is_, self._made_of(x), self.made_of)):
            self.whole = self._make(block, x, position_embeddings[0].shape)
            self.made_of = self._made_of(x)
        return self.whole

    def _made_of(self, x: torch.Tensor) -> list:
        """What a compiled block is good for: another one is needed when any of it is another object."""
        weights = [norm and norm._parameters["weight"] for norm in self.norms]
        return [x.dtype, *[layer._matrix for layer in self.matrices], *weights]

    def _make(self, block: FusedBlock, x: torch.Tensor, rotary: torch.Size):
        """The compiled block, or why there is none: nothing to compile it, or it would not compute the same."""
        tensors = [norm.weight for norm in self.norms if norm] + [
            layer.bias for layer in self.matrices if layer.bias is not None
        ]
        head = self.attention.head_dim
        if kernels() is None:
            return f"kernels: {state()}"
        if not THREADS and torch.get_num_threads() > 1:  # one thread would do it all
            return "the kernels have no OpenMP here and run on one thread"
        if x.dtype not in TOLERANCE:
            return f"{x.dtype} is not supported"
        if any(layer.dtype != x.dtype or not layer.values.is_cpu for layer in self.matrices) or any(
            tensor.dtype != x.dtype for tensor in tensors
        ):
            return "weights and hidden states differ in dtype or device"
        if rotary != (1, 1, head):
            return f"rotary embeddings of {tuple(rotary)}, where a head has {head}"
        try:
            whole = torch.classes.espalier.Block(
                [layer.matrix for layer in self.matrices],
                [norm.weight for norm in self.norms[:2]],
                *(norm and norm.weight for norm in self.norms[2:]),
                [_epsilon(norm) if norm else 0.0 for norm in self.norms],
                head,
                float(self.attention.scaling),
            )
            agrees = all(self._agrees(block, whole, x, size) for size in (1.0, 0.01))
            return whole if agrees else f"{type(block).__name__} computes something else than the fused block"
        except (RuntimeError, TypeError, AttributeError) as error:  # sizes that do not fit, or a family of its own ways
            return f"{type(block).__name__} could not be compared: {first_line(error)}"

    @torch.no_grad()
    def _agrees(self, block: FusedBlock, whole, x: torch.Tensor, size: float) -> bool:
        """Whether both give the same output, keys and values for a random input of that size behind three tokens."""
        generator = torch.Generator().manual_seed(0)
        head = self.attention.head_dim
        hidden = (size * torch.randn(x.shape, generator=generator)).to(x.dtype)
        angles = 6 * torch.rand((1, 1, head // 2), generator=generator).repeat(1, 1, 2)
        rotary = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        past = torch.randn((2, 1, self.matrices[1].out_features // head, 3, head), generator=generator).to(x.dtype)
        caches = _Past(past), _Past(past)
        places = torch.full((1, 1), 3)
        plain = block.plain.forward(
            block,
            hidden,
            position_ids=places,
            position_embeddings=rotary,
            use_cache=True,
            **{block.cache_name: caches[0]},
        )
        query, key, value = whole.begin(hidden, *rotary)
        found = whole.finish(hidden, query, *caches[1].update(key, value))
        pairs = [(plain - hidden, found - hidden), *zip(caches[0].new, caches[1].new, strict=True)]
        slack = torch.finfo(x.dtype).eps * hidden.abs().max()
        return all(_near(*pair, TOLERANCE[x.dtype], slack) for pair in pairs)


class _Past:
    """A cache of three tokens, which takes down what is added."""

    def __init__(self, past: torch.Tensor):
        self.past, self.new = past, []

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_, **__) -> list[torch.Tensor]:
        self.new = [keys, values]
        return [torch.cat([old, new], dim=2) for old, new in zip(self.past, self.new, strict=True)]


def _near(one: torch.Tensor, other: torch.Tensor, share: float, slack: torch.Tensor) -> bool:
    return bool((one.float() - other.float()).abs().max() <= share * one.float().abs().max() + slack)


def _epsilon(norm: nn.Module) -> float | None:
    return getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
