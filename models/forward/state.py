"""What a model has read, carried from one forward pass to the next: keys and values, or a recurrent state.

Families differ in what they carry and in what they call it, and many take what they are given under another name
without a word and forget it. So the ways that the forward function names are tried once for a model, and one is taken
only if reading token by token gives the logits of reading all at once. Where none does, the whole text is read again
for every token: slow, and right.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache, PreTrainedModel

from models.console.out_of_memory import ran_out
from models.console.quiet import quiet_transformers
from models.forward.agreement import PROBE, logits_of, probe, same_logits

STEPS = 4  # tokens of the trial that are read one by one
SHORTEST = PROBE - STEPS  # tokens that begin a recurrent state, as in the trial: fewer may not fill a convolution
NAMES = ("cache", "past_key_values", "cache_params", "state")  # what families call the state in `forward`
KEYS_AND_VALUES = "DynamicCache"
REREADS = "none: the whole text is read again for every token"


@dataclass(frozen=True)
class Carriage:
    """A way to carry the state: the forward's `argument` for it (None: it is not carried), and how it is begun.

    `begin(model, batch)` makes an empty state; without it the first forward pass makes it. `name` is for protocols.
    """

    argument: str | None
    name: str
    begin: Callable[[PreTrainedModel, int], Any] | None = None


class State:
    """What a model has read of a batch of texts of one length. `cache` is what is carried, None before there is any.

    With `by_row` each text has a state of its own: some families mix up those of a batch (RWKV). The first `least`
    tokens are read again and again until they are so many, and only then carried.
    """

    def __init__(self, model: PreTrainedModel, carriage: Carriage, by_row: bool = False, least: int = 1):
        self._model, self._carriage, self._by_row, self._least = model, carriage, by_row, least
        parameters = inspect.signature(model.forward).parameters
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        # Early releases cannot count what a recurrent state has read.
        self._told_places = carriage.name != KEYS_AND_VALUES and "cache_position" in parameters
        self._read = 0
        self._ids: torch.Tensor | None = None
        self._rows: list[State] = []
        self.cache: Any = None

    @property
    def rereads(self) -> bool:
        """Whether nothing is carried, so that every token costs as much as the whole text."""
        return self._carriage.argument is None

    @property
    def name(self) -> str:
        """What is carried, for protocols: `DynamicCache`, or another class, or that there is none."""
        return self._carriage.name

    def reads_pieces(self) -> bool:
        """Whether a prompt may be read in several pieces. Tried at the first call for a model, by forward passes.

        Only keys and values may: what families do to a recurrent state at the seam of two pieces may be wrong by too
        little for a trial to see.
        """
        return _known(_PIECES, self._model, lambda: _reads_pieces(self._model, self._carriage))

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Reads on [batch, tokens] and returns the logits [batch, vocabulary] of what comes next."""
        if self._by_row:
            return self._read_by_row(ids)
        if self._ids is not None:
            ids = torch.cat([self._ids, ids], dim=1)
        if self.rereads or (not self._read and ids.shape[1] < self._least):
            self._ids = ids
            return self._model(input_ids=ids, use_cache=False, **self._only_last).logits[:, -1]
        self._ids = None
        if self.cache is None and self._carriage.begin:
            self.cache = self._carriage.begin(self._model, len(ids))
        given: dict[str, Any] = {} if self.cache is None else {self._carriage.argument: self.cache}
        if self._told_places and given:
            given["cache_position"] = torch.arange(self._read, self._read + ids.shape[1], device=ids.device)
        output = self._model(input_ids=ids, use_cache=True, **given, **self._only_last)
        if not self._carriage.begin:
            self.cache = output[self._carriage.argument]
        self._read += ids.shape[1]
        return output.logits[:, -1]

    def _read_by_row(self, ids: torch.Tensor) -> torch.Tensor:
        self._rows = self._rows or [State(self._model, self._carriage, least=self._least) for _ in ids]
        logits = torch.cat([row.read(each[None]) for row, each in zip(self._rows, ids, strict=True)])
        self.cache = [row.cache for row in self._rows]
        return logits


_CARRIAGES: WeakKeyDictionary = WeakKeyDictionary()
_PIECES: WeakKeyDictionary = WeakKeyDictionary()
_BATCHES: WeakKeyDictionary = WeakKeyDictionary()
_REREADING = Carriage(None, REREADS)


def open_state(model: PreTrainedModel, batch: int = 1) -> State:
    """An empty state for a batch of texts. The first one of a model costs a few short forward passes."""
    way = carriage_of(model)
    together = batch == 1 or not way.argument or _known(_BATCHES, model, lambda: _carries(model, way, rows=2))
    return State(model, way, by_row=not together, least=1 if _attends(model, way) else SHORTEST)


def carriage_of(model: PreTrainedModel) -> Carriage:
    """The first way to carry the state that leaves the model's logits as they are; found once for a model."""
    ways = list(_ways(model))
    return _known(_CARRIAGES, model, lambda: next((way for way in ways if _carries(model, way)), _REREADING))


def _known(store: WeakKeyDictionary, model: PreTrainedModel, find: Callable[[], Any]) -> Any:
    if model not in store:
        store[model] = find()
    return store[model]


def _ways(model: PreTrainedModel) -> Iterator[Carriage]:
    parameters = inspect.signature(type(model).forward).parameters
    for argument in (name for name in NAMES if name in parameters):
        if argument in NAMES[:2]:
            yield Carriage(argument, KEYS_AND_VALUES, lambda model, batch: DynamicCache(config=model.config))
            yield Carriage(argument, f"{KEYS_AND_VALUES}, layers as they come", lambda model, batch: DynamicCache())
            yield Carriage(argument, f"the model's own {argument}", partial(_prepared, argument))
        yield Carriage(argument, f"the model's own {argument}")


def _prepared(argument: str, model: PreTrainedModel, batch: int) -> Any:
    """The empty state that a family makes for `generate`, where it makes one."""
    ids = torch.zeros(batch, 1, dtype=torch.long, device=next(model.parameters()).device)
    options = {argument: None, "attention_mask": torch.ones_like(ids), "cache_position": ids[0]}
    return model.prepare_inputs_for_generation(ids, use_cache=True, **options)[argument]


def _reads_pieces(model: PreTrainedModel, way: Carriage) -> bool:
    return _attends(model, way) and _carries(model, way, pieces=True)


def _attends(model: PreTrainedModel, way: Carriage) -> bool:
    """Whether what is carried are keys and values alone."""
    layers = getattr(way.begin(model, 1), "layers", None) if way.begin else None
    return layers is not None and not any(hasattr(layer, "update_recurrent_state") for layer in layers)


@torch.inference_mode()
def _carries(model: PreTrainedModel, way: Carriage, pieces: bool = False, rows: int = 1) -> bool:
    """Whether a way works and gives the logits of reading all at once: the prompt whole, or in `pieces`; then steps."""
    ids = probe(model)
    ids = torch.cat([ids.roll(row, dims=1) for row in range(rows)])
    first = ids.shape[1] - min(STEPS, ids.shape[1] - 1)
    sizes = [first] if not pieces else [size for size in (first // 2, first - first // 2) if size]
    sizes += [1] * (ids.shape[1] - first)
    with quiet_transformers():
        whole = logits_of(model, ids)
        state, found = State(model, way), []
        try:
            for piece in ids.split(sizes, dim=1):
                found.append(state.read(piece))
        except Exception as error:  # whatever a family says to a state that it does not know
            if ran_out(error):
                raise
            return False
        ends = torch.tensor(sizes).cumsum(0).sub(1).to(whole.device)
        logits = torch.stack(found, dim=1)
        return all(same_logits(model, ids[row], logits[row], whole[row], ends) for row in range(rows))
