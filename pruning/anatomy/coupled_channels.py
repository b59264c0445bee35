"""Which input channels of a projection are free to move, since what makes them can follow.

Those inside a feed-forward network (columns of down, rows of gate and up) and the value channels inside an attention
head (columns of o, rows of v; all query heads of a key-value head alike). What reads the residual stream is not free,
and a fused qkv is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pruning.anatomy.roles import Projection

if TYPE_CHECKING:
    from torch import Tensor, nn

FEED_FORWARD = ({"gate", "up", "down"}, {"up", "down"}, {"gate_up", "down"}, {"expert_gate_up", "expert_down"})
ATTENTION = {"q", "k", "v", "o"}


@dataclass(frozen=True)
class CoupledChannels:
    """A projection whose input channels are free to move, within each of `heads` runs of `width`, and what makes them.

    Each channel that the producers make is read `repeats` times. Producers have a row for each, or two halves of them.
    An order is [heads, width]: in each head, which channel comes first, second, ...
    """

    consumer: Projection
    producers: tuple[Projection, ...]
    heads: int = 1
    repeats: int = 1

    @property
    def width(self) -> int:
        """How many channels may change places with each other."""
        return self.consumer.columns // (self.heads * self.repeats)

    def by_head(self, scores: Tensor) -> Tensor:
        """The consumer's scores [R, C] by head, one row for every use of a channel: [heads, R repeats, width]."""
        parts = scores.reshape(len(scores), self.heads, self.repeats, self.width)
        return parts.permute(1, 0, 2, 3).flatten(1, 2)

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        """Puts the channels into that order, in place: the model computes the same as before."""
        starts = torch.arange(self.heads * self.repeats).reshape(self.heads, self.repeats, 1) * self.width
        weight = self.consumer.weight
        weight.copy_(weight[:, (starts + order[:, None, :]).flatten().to(weight.device)])
        channels = (torch.arange(self.heads)[:, None] * self.width + order).flatten()
        for producer in self.producers:
            rows = torch.cat([channels + half for half in range(0, producer.rows, len(channels))])
            weight, bias = producer.weight, getattr(producer.module, "bias", None)
            weight.copy_(weight[rows.to(weight.device)])
            if bias is not None:
                bias.copy_(bias[rows.to(bias.device)])


def find_coupled_channels(model: nn.Module, projections: Sequence[Projection]) -> list[CoupledChannels]:
    """Every projection of a model whose input channels are free to move."""
    groups: dict[tuple[str, int | None], list[Projection]] = {}
    for entry in projections:
        groups.setdefault(_place(entry), []).append(entry)
    heads = getattr(model.config.get_text_config(), "num_attention_heads", None)
    found = []
    for (parent, _), group in groups.items():
        members = {entry.role: entry for entry in group}
        fold = (_feed_forward(members) or _attention(members, heads)) if len(members) == len(group) else None
        if fold and not _bound(fold, model.get_submodule(parent), group):
            found.append(fold)
    return found


def _place(entry: Projection) -> tuple[str, int | None]:
    """The module that holds a projection and those it works with, and which expert they are of."""
    module = entry.parameter_name.rpartition(".")[0]
    return (module.rpartition(".")[0] if entry.expert is None else module), entry.expert


def _feed_forward(members: Mapping[str, Projection]) -> CoupledChannels | None:
    if set(members) not in FEED_FORWARD:
        return None
    *producers, consumer = (members[role] for role in sorted(members, key=lambda role: role.endswith("down")))
    width = consumer.columns
    # Stored the other way round, as by gpt-oss, gate and up alternate.
    halves = consumer.expert is None or not consumer.transposed
    fits = all(entry.rows == (2 * width if entry.role.endswith("gate_up") else width) for entry in producers)
    return CoupledChannels(consumer, tuple(producers)) if halves and fits else None


def _attention(members: Mapping[str, Projection], heads: int | None) -> CoupledChannels | None:
    if set(members) != ATTENTION or not heads or members["o"].columns % heads:
        return None
    value, output = members["v"], members["o"]
    width = output.columns // heads
    groups, rest = divmod(value.rows, width)
    # A query that is wider than what o reads carries a gate for each channel.
    if rest or not groups or heads % groups or members["q"].rows != output.columns:
        return None
    return CoupledChannels(output, (value,), groups, heads // groups)


def _bound(fold: CoupledChannels, parent: nn.Module, group: Sequence[Projection]) -> bool:
    """Whether anything else in their module could hold one number a channel, such as a norm before the consumer."""
    own = {id(parameter) for entry in group for parameter in entry.module.parameters(recurse=False)}
    sizes = {fold.width, fold.heads * fold.width, fold.consumer.columns}
    return any(
        sizes & set(parameter.shape)
        for name, parameter in parent.named_parameters()
        if id(parameter) not in own and not name.startswith(("q_", "k_"))  # norms of queries and keys
    )
