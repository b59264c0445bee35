"""A model of fewer blocks: the configuration that makes it, found and tried before any work is done.

Many families place kinds of blocks by a rule (`first_k_dense_replace`). Whether entries rewritten for some of the
blocks mean these blocks is not believed: the model is built of them, without numbers, and compared part by part.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.console.quiet import quiet_transformers
from models.errors import RequestError, first_line
from pruning.anatomy.depth_entries import BY_PLACE, naming_rules, rewritings
from pruning.anatomy.roles import find_blocks, place_names

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIMPLE = (bool, int, float, str, type(None))
Facts = dict[str, object]  # of a block: its parts, their classes, shapes and settings, by name


class Depth:
    """What of a model's configuration depends on how many blocks there are, and on which."""

    def __init__(self, model: PreTrainedModel, count: int):
        self._class, self._config, self._count = type(model), model.config, count
        self._entries = model.config.get_text_config().to_dict()
        self._known: dict[tuple[int, ...], dict[str, object] | RequestError] = {}
        self._dense: list[Facts] | None = None

    def changes(self, kept: Sequence[int]) -> dict[str, object]:
        """The entries of the configuration, by name, that make a model of the blocks `kept` (indices, ascending).

        RequestError, naming the entries at fault, if no configuration makes it.
        """
        kept = tuple(kept)
        if kept not in self._known:
            try:
                self._known[kept] = self._search(kept)
            except RequestError as error:
                self._known[kept] = error
        if isinstance(known := self._known[kept], RequestError):
            raise known
        return known

    def choose(self, scores: Sequence[float], going: int) -> tuple[tuple[int, ...], bool]:
        """The blocks to keep when `going` go, never the first or the last, and whether they are those of lowest score.

        They are not where only another choice has a configuration: then of the choices that keep the order of kinds
        the one of highest score. RequestError, as of `changes`, if neither has one.
        """
        inner = sorted(range(1, self._count - 1), key=lambda index: scores[index])
        lowest = self._without(inner[:going])
        try:
            self.changes(lowest)
            return lowest, True
        except RequestError:
            for kept in (self._same_kinds(scores, len(lowest)), self._without(range(1, going + 1))):
                if kept and self._works(kept):
                    return kept, False
            raise

    def require(self, going: int) -> None:
        """RequestError, as of `changes`, if `choose` would find nothing whatever the scores are."""
        self.choose([0.0] * self._count, going)

    def _without(self, gone) -> tuple[int, ...]:
        gone = set(gone)
        return tuple(index for index in range(self._count) if index not in gone)

    def _works(self, kept: tuple[int, ...]) -> bool:
        try:
            self.changes(kept)
        except RequestError:
            return False
        return True

    def _search(self, kept: tuple[int, ...]) -> dict[str, object]:
        if len(kept) == self._count:
            return {}
        moved = kept != tuple(range(len(kept)))
        if moved and (fixed := [name for name in BY_PLACE if self._entries.get(name)]):
            raise RequestError(self._refusal(kept, f"its blocks compute with their number ({fixed[0]})"))
        dense = self._dense_facts()
        why = ""
        for changed in rewritings(self._entries, kept, self._count):
            changed = self._with_depth(changed, len(kept))
            try:
                found = self._facts(changed)
            except RequestError as error:
                why = why or str(error)
                continue
            if not (other := _difference([dense[0], *(dense[index + 1] for index in kept)], found, kept)):
                return changed
            why = why or other
        raise RequestError(self._refusal(kept, why))

    def _refusal(self, kept: tuple[int, ...], why: str) -> str:
        rules = naming_rules(self._entries)
        entries = f" (its rules are in {', '.join(rules)})" if rules else ""
        gone = ", ".join(str(index) for index in range(self._count) if index not in kept)
        return (
            f"{self._class.__name__} without the blocks {gone} cannot be written as a config.json{entries}: {why}. "
            "Choose another number of blocks, or --structure none."
        )

    def _with_depth(self, changed: Mapping[str, object], depth: int) -> dict[str, object]:
        # Of an encoder and a decoder, `num_hidden_layers` is the encoder's.
        name = "decoder_layers" if "decoder_layers" in self._entries else "num_hidden_layers"
        return {**changed, name: depth}

    def _dense_facts(self) -> list[Facts]:
        if self._dense is None:
            self._dense = self._facts({})
        return self._dense

    def _facts(self, changed: Mapping[str, object]) -> list[Facts]:
        """Of what lies around the blocks, then of every block, of the model that these changed entries make.

        They are written to a file and read again, so to speak. RequestError if they make none.
        """
        try:
            with quiet_transformers():
                config = copy.deepcopy(self._config)
                write_entries(config.get_text_config(), changed)
                config = type(config).from_dict(json.loads(config.to_json_string()))
                with torch.device("meta"):
                    model = self._class(config)
        except Exception as error:  # whatever a configuration can be wrong about
            raise RequestError(f"it makes no model ({first_line(error)})") from error
        path, blocks = find_blocks(model)
        places = place_names(blocks)
        lists = [value for value in config.get_text_config().to_dict().values() if isinstance(value, list)]
        around = {
            f"{name} (shape)": tuple(parameter.shape)
            for name, parameter in model.named_parameters()
            if not name.startswith(f"{path}.")
        }
        return [around, *(_facts_of(block, places, lists) for block in blocks)]

    def _same_kinds(self, scores: Sequence[float], depth: int) -> tuple[int, ...] | None:
        """Of the choices whose kinds of blocks follow each other as the rules want there, that of highest scores."""
        first = {name: value[:depth] for name, value in self._entries.items() if self._is_per_block(value)}
        try:
            wanted = self._facts(self._with_depth(first, depth))[1:]
        except RequestError:
            return None
        dense = self._dense_facts()[1:]
        # The best way to fill the places so far, by the block in the last of them.
        best = {0: (scores[0], (0,))} if dense[0] == wanted[0] else {}
        for facts in wanted[1:]:
            reached, before = {}, None
            for index in range(1, self._count):
                before = max(filter(None, (before, best.get(index - 1))), default=None)
                if before and dense[index] == facts:
                    reached[index] = before[0] + scores[index], (*before[1], index)
            best = reached
        return best[self._count - 1][1] if self._count - 1 in best else None

    def _is_per_block(self, value: object) -> bool:
        return isinstance(value, list) and len(value) == self._count


def write_entries(config, changed: Mapping[str, object]) -> None:
    """Sets entries of a configuration, in place."""
    for name, value in changed.items():
        setattr(config, name, value)


def _facts_of(block: nn.Module, places: set[str], lists: list[list]) -> Facts:
    facts: Facts = {}
    for path, module in block.named_modules():
        facts[f"{path or 'block'}"] = type(module).__name__
        for name, value in vars(module).items():
            if name.startswith("_") or name == "training" or name in places or value in lists:
                continue
            if isinstance(value, SIMPLE) or (
                isinstance(value, (list, tuple)) and all(isinstance(item, SIMPLE) for item in value)
            ):
                facts[f"{path}.{name}".lstrip(".")] = value
    for name, tensor in (*block.named_parameters(), *block.named_buffers()):
        facts[f"{name} (shape)"] = tuple(tensor.shape)
    return facts


def _difference(wanted: list[Facts], found: list[Facts], kept: Sequence[int]) -> str:
    """In words, in what the facts found are not those wanted (see `Depth._facts`); empty if they are."""
    if len(wanted) != len(found):
        return f"the model would have {len(found) - 1} blocks and not {len(wanted) - 1}"
    for place, (one, other) in enumerate(zip(wanted, found, strict=True), start=-1):
        for name in one | other:
            if not _same(one.get(name), other.get(name)):
                where = "the rest" if place < 0 else f"block {kept[place]}, come to place {place},"
                return f"{where} would have {name} = {other.get(name)} and not {one.get(name)}"
    return ""


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other
