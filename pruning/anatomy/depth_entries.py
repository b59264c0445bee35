"""What a configuration says of its blocks by their number, and how that reads once some of them are gone.

Pure functions on the entries of a configuration, by name. `kept` are the indices that stay, ascending, of `count`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

OF_BLOCKS = re.compile("layer|block|idx|index|pattern")
# Blocks below this number are of one kind, and the rest of another.
PREFIXES = ("first_k_dense_replace", "num_dense_layers", "max_window_layers")
# What else can decide the kind of a block by its number, for the message where that cannot be rewritten.
RULES = re.compile(
    "dense_replace|dense_layers|layers_per_stack|kv_shared_layers|(input|output|recurrent|only)_layers|sparse_step"
    "|layer_(start|end|freq|interval|step)|(layer|attn|attention|cross|expert|moe)\\w*_(period|offset|interval|every)"
    "|layer_idx|_every_|depth"
)
# Blocks compute with their number: none that comes to another place stays what it was.
BY_PLACE = ("scale_attn_by_inverse_layer_idx",)


def rewritings(entries: Mapping[str, object], kept: Sequence[int], count: int) -> Iterator[dict[str, object]]:
    """The changed entries for the blocks that stay, the likeliest reading of them first.

    What a list or a number of an unknown name means can only be tried: whoever asks compares what is made of it.
    """
    known = _lists(entries, kept, count, lambda name: OF_BLOCKS.search(name))
    known |= _prefixes(entries, kept, count) | _sparse_steps(entries, kept, count) | _expert_range(entries, kept, count)
    known |= _by_number(entries, kept) | _branch_scale(entries, kept, count)
    if "attention_types" in entries and "attention_layers" in known:  # GPT-Neo, which writes the second from the first
        known["attention_types"] = [[known["attention_layers"], 1]]
    yield known
    others = _lists(entries, kept, count, lambda name: name not in known)
    if others:
        yield known | others
    for name, value in entries.items():
        if name not in known and OF_BLOCKS.search(name) and _is_count(value) and 0 < value <= count:
            yield known | {name: sum(index < value for index in kept)}


def naming_rules(entries: Mapping[str, object]) -> list[str]:
    """The entries that decide the kinds of blocks by a rule, so far as names tell."""
    return [name for name, value in entries.items() if RULES.search(name) and value not in (None, False, [], {})]


def _lists(entries: Mapping[str, object], kept: Sequence[int], count: int, wanted) -> dict[str, object]:
    """Lists of numbers of blocks, and lists (and texts) with one item a block."""
    places = {index: place for place, index in enumerate(kept)}
    found: dict[str, object] = {}
    for name, items in entries.items():
        if isinstance(items, (list, tuple)) and items and wanted(name):
            if all(_is_count(item) and item < count for item in items) and len(set(items)) == len(items):
                found[name] = [places[index] for index in items if index in places]
            elif len(items) == count:
                found[name] = [items[index] for index in kept]
        elif isinstance(items, str) and len(items) == count and "pattern" in name and wanted(name):
            found[name] = "".join(items[index] for index in kept)
    return found


def _prefixes(entries: Mapping[str, object], kept: Sequence[int], count: int) -> dict[str, object]:
    limits = {name: entries[name] for name in PREFIXES if _is_count(entries.get(name)) and entries[name] <= count}
    return {name: sum(index < limit for index in kept) for name, limit in limits.items()}


def _sparse_steps(entries: Mapping[str, object], kept: Sequence[int], count: int) -> dict[str, object]:
    """Qwen: every `decoder_sparse_step`-th block has experts, but for those listed."""
    step, without = entries.get("decoder_sparse_step"), entries.get("mlp_only_layers")
    if not _is_count(step) or step < 2 or not isinstance(without, (list, tuple)):
        return {}
    dense = [place for place, index in enumerate(kept) if index in without or (index + 1) % step]
    return {"decoder_sparse_step": 1, "mlp_only_layers": dense}


def _expert_range(entries: Mapping[str, object], kept: Sequence[int], count: int) -> dict[str, object]:
    """Ernie: every n-th block of a range has experts. Empty where what stays has no such form."""
    names = ("moe_layer_start_index", "moe_layer_end_index", "moe_layer_interval")
    if not all(_is_count(entries.get(name)) for name in names):
        return {}
    start, end, interval = (entries[name] for name in names)

    def sparse(number: int, first: int, last: int, every: int) -> bool:
        return (number + 1) % every == 0 and first <= number <= last

    wanted = [sparse(index, start, end, max(interval, 1)) for index in kept]
    places = [place for place, is_sparse in enumerate(wanted) if is_sparse] or [len(kept)]
    for every in dict.fromkeys((max(interval, 1), *range(1, len(kept) + 1))):
        if [sparse(place, places[0], places[-1], every) for place in range(len(kept))] == wanted:
            return dict(zip(names, (places[0], places[-1], every), strict=True))
    return {}


def _branch_scale(entries: Mapping[str, object], kept: Sequence[int], count: int) -> dict[str, object]:
    """MiniCPM: what a block adds is multiplied by `scale_depth` over the root of the number of blocks."""
    scale = entries.get("scale_depth")
    return {"scale_depth": scale * math.sqrt(len(kept) / count)} if isinstance(scale, float) else {}


def _by_number(entries: Mapping[str, object], kept: Sequence[int]) -> dict[str, object]:
    """Dictionaries from a block's number to what holds for it."""
    found = {}
    for name, table in entries.items():
        if isinstance(table, dict) and table and OF_BLOCKS.search(name) and all(str(key).isdigit() for key in table):
            by_number = {int(key): value for key, value in table.items()}
            found[name] = {str(place): by_number[index] for place, index in enumerate(kept) if index in by_number}
    return found


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
