"""Rows of a forward pass: a context, and the continuations that share it as branches of a tree.

A context with its continuations one after the other makes one row; a token of a branch sees the context and the tokens
of its own branch before it (the tree mask), at the position that it has in the text. So the context is computed once
for all its continuations, and every logit is what it would be with the branch alone.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from evals.asking.encoding import Pair
from evals.asking.forward import text_logits, trims
from models.console.out_of_memory import enough_memory
from models.description import context_length
from models.errors import RequestError
from models.forward.causality import refuse_leaks

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

BATCH_TOKENS = 4096  # tokens of one forward pass, padding included
LOGIT_BYTES = 128 << 20  # what the logits of one forward pass may take
SHORTEST_TRUNK = 4  # tokens; to share fewer saves nothing
MASKING = ("sdpa", "eager")  # attention that takes a mask of our own; flash attention takes none
FULL = {"full_attention", "attention"}


@dataclass(frozen=True)
class Row:
    """One row of input `ids` [T] with their `positions` [T] in the text, and the `branch` [T] of each (0: the context).

    `wanted[i]` are the places whose logits foretell the tokens of pair `pairs[i]`.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    branch: tuple[int, ...]
    pairs: tuple[int, ...]
    wanted: tuple[tuple[int, ...], ...]

    @property
    def first(self) -> int:
        """The first place whose logits are needed."""
        return min(places[0] for places in self.wanted)

    @property
    def is_tree(self) -> bool:
        """Whether it needs the tree mask: a single branch is an ordinary text."""
        return max(self.branch) > 1


def rows_of(pairs: Sequence[Pair], packed: bool, most: int) -> list[Row]:
    """The rows that answer all pairs: a row a context with its branches where `packed`, else a row a text.

    No row has more than `most` tokens if a pair alone has not; a branch that another begins with lies on it.
    """
    if not packed:
        return rows_of_texts(range(len(pairs)), pairs)
    groups: dict[tuple[int, ...], list[int]] = {}
    for at, (context, _) in enumerate(pairs):
        groups.setdefault(tuple(context), []).append(at)
    shared = {trunk: members for trunk, members in groups.items() if len(trunk) >= SHORTEST_TRUNK}
    trees = [row for trunk, members in shared.items() for row in _trees(trunk, members, pairs, most)]
    alone = [at for trunk, members in groups.items() if trunk not in shared for at in members]
    return trees + rows_of_texts(alone, pairs)


def rows_of_texts(numbers: Iterable[int], pairs: Sequence[Pair]) -> list[Row]:
    """The rows that answer the pairs of these numbers, each text in a row; pairs of the same text share it."""
    texts: dict[tuple[int, ...], list[int]] = {}
    for at in numbers:
        texts.setdefault((*pairs[at][0], *pairs[at][1][:-1]), []).append(at)
    return [_text(text, members, pairs) for text, members in texts.items()]


def _text(ids: tuple[int, ...], members: list[int], pairs: Sequence[Pair]) -> Row:
    starts = [(at, len(pairs[at][0]) - 1) for at in members]
    taken = [(at, tuple(range(start, start + len(pairs[at][1])))) for at, start in starts]
    return _row(ids, tuple(range(len(ids))), (0,) * len(ids), taken)


def _trees(trunk: tuple[int, ...], members: list[int], pairs: Sequence[Pair], most: int) -> Iterator[Row]:
    ids = branch = positions = ()
    taken: list[tuple[int, tuple[int, ...]]] = []
    starts: dict[tuple[int, ...], int] = {}
    for at in sorted(members, key=lambda at: (-len(pairs[at][1]), at)):
        stem = tuple(pairs[at][1][:-1])
        known = next((place for other, place in starts.items() if other[: len(stem)] == stem), None)
        if taken and known is None and len(ids) + len(stem) > most:
            yield _row(ids, positions, branch, taken)
            taken, starts = [], {}
        if not taken:
            ids, positions, branch = trunk, tuple(range(len(trunk))), (0,) * len(trunk)
        if known is None:
            known = len(ids)
            starts[stem] = known
            ids += stem
            positions += tuple(range(len(trunk), len(trunk) + len(stem)))
            branch += (len(starts),) * len(stem)
        taken.append((at, (len(trunk) - 1, *range(known, known + len(stem)))))
    if taken:
        yield _row(ids, positions, branch, taken)


def _row(ids, positions, branch, taken) -> Row:
    return Row(ids, positions, branch, tuple(at for at, _ in taken), tuple(places for _, places in taken))


def batches(rows: Iterable[Row], config: "PretrainedConfig") -> Iterator[list[Row]]:
    """Rows of similar length together, the longest first: memory runs out at once or never.

    RequestError for a text longer than the context.
    """
    ordered = sorted(rows, key=lambda row: (-len(row.ids), row.ids))
    if ordered and max(max(row.positions) for row in ordered) >= context_length(config):
        raise RequestError(f"A text is longer than the model's context of {context_length(config)} tokens: shorten it.")
    start = 0
    while start < len(ordered):
        length = len(ordered[start].ids)
        batch = ordered[start : start + max(1, BATCH_TOKENS // length)]
        needed = length - min(row.first for row in batch)
        batch = batch[: max(1, LOGIT_BYTES // (4 * needed * config.vocab_size))]
        yield batch
        start += len(batch)


def can_branch(model: "PreTrainedModel", longest: int) -> bool:
    """Whether a model reads rows with branches: it must take positions and a mask, and attend to all of a row.

    Not so are models with ALiBi (distances in the row, not in the text), with a window shorter than `longest`,
    recurrent ones, and those whose attention takes no mask.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or FULL)
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    slides = not kinds <= FULL or (not getattr(config, "layer_types", None) and any(windows))
    fits = kinds <= FULL | {"sliding_attention"} and all(window is None or window >= longest for window in windows)
    alibi = bool(getattr(config, "alibi", False))
    takes = "position_ids" in inspect.signature(model.forward).parameters
    return takes and not alibi and config._attn_implementation in MASKING and (fits or not slides)


def logits_of(model: "PreTrainedModel", rows: Sequence[Row]) -> tuple[torch.Tensor, int]:
    """The logits [B, T - first, V] of right-padded rows from a place `first` on, and `first`.

    RequestError for a model that is not causal, EspalierError if the memory does not suffice, and for rows with
    branches whatever a family raises that cannot read them.
    """
    device = next(model.parameters()).device
    longest, first = max(len(row.ids) for row in rows), min(row.first for row in rows)
    ids = torch.tensor([[*row.ids, *[0] * (longest - len(row.ids))] for row in rows], device=device)
    with enough_memory("Out of memory while scoring: use a shorter prompt or a smaller model."):
        if any(row.is_tree for row in rows):
            return _tree_logits(model, rows, ids, first), first
        return text_logits(model, ids, first, [len(row.ids) for row in rows]), first


def _tree_logits(model: "PreTrainedModel", rows: Sequence[Row], ids: torch.Tensor, first: int) -> torch.Tensor:
    refuse_leaks(model)
    longest = ids.shape[1]
    positions = [[*row.positions, *[0] * (longest - len(row.ids))] for row in rows]
    options: dict = {"logits_to_keep": longest - first} if trims(model) else {}
    options["position_ids"] = torch.tensor(positions, device=ids.device)
    options["attention_mask"] = _tree_mask(rows, longest, model.dtype).to(ids.device)
    return model(input_ids=ids, use_cache=False, **options).logits[:, -(longest - first) :]


def _tree_mask(rows: Sequence[Row], longest: int, dtype: torch.dtype) -> torch.Tensor:
    """[B, 1, T, T], 0 where a query (second last axis) sees a key, else the dtype's least value."""
    branch = torch.tensor([[*row.branch, *[-1] * (longest - len(row.ids))] for row in rows])
    same = (branch[:, None, :] == branch[:, :, None]) | (branch[:, None, :] == 0)
    seen = same & torch.ones(longest, longest, dtype=torch.bool).tril()
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)[:, None]
