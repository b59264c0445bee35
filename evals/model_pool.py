"""The models under test: checked before any work, and in memory only while a metric holds them."""

import gc
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from evals.asking.cache import Cache
from evals.asking.fingerprint import fingerprint
from evals.asking.request_client import RequestClient
from evals.cost.memory import Footprint, measure
from evals.environment import processor
from models.errors import RequestError
from models.formats.checking import check_folder, check_tokenizer, check_weights, load_config
from models.loading import Loaded, load, load_tokenizer
from models.memory import available_bytes, require
from models.policy import choose_device, choose_dtype
from models.source import ModelSource, locate
from pruning.packing.folder import PACKING
from pruning.saved.record import finished_record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORTH_PACKING = 0.1  # share of zeros from which a model is also timed packed
SPARE = 0.25  # of the free memory: models that take no more together stay loaded beside those that are held


class ModelPool:
    """MODELs by name, in the order given; the first is the baseline.

    All are located and checked at once (files whole, family known, tokenizer readable, enough memory for as many as
    are held together), so that a mistake in the last name is told before the first is measured.
    """

    def __init__(self, names: Sequence[str], device: str = "auto", dtype: str = "auto", models_at_once: int = 1):
        self.names = list(names)
        if not self.names:
            raise RequestError("There is no model to evaluate: name at least one.")
        if twice := [name for name in self.names if self.names.count(name) > 1]:
            raise RequestError(f"{twice[0]} is named twice: name every model once.")
        self.device, self.dtype = device, dtype
        self._target = choose_device(device)
        self._dtype = choose_dtype(self._target, dtype)
        self._sources = {name: self._located(name) for name in self.names}
        self._held: dict[str, Loaded] = {}
        self._footprints: dict[str, Footprint] = {}
        self._descriptions: dict[str, dict] = {}
        self._fingerprints: dict[str, str] = {}
        self._tokenizers: dict[str, PreTrainedTokenizerBase] = {}
        self._sizes: dict[str, int] = {}
        self._check(models_at_once)

    @property
    def baseline(self) -> str:
        """The name of the model that the others are compared with."""
        return self.names[0]

    @property
    def precision(self) -> torch.dtype:
        """The dtype that the weights are loaded in."""
        return self._dtype

    @property
    def others(self) -> list[str]:
        """The names of all models but the baseline."""
        return self.names[1:]

    def hold(self, *names: str) -> list[Loaded]:
        """Loads these models and lets go of the others, unless memory is plentiful; `hold()` lets go of all."""
        kept = {name: held for name, held in self._held.items() if name in names or self._has_room(*names)}
        if kept.keys() != self._held.keys():
            self._held = kept
            gc.collect()
            if self._target.type == "cuda":
                torch.cuda.empty_cache()
        for name in names:
            if name not in self._held:
                self._held[name] = load(name, self.device, self.dtype)
                self._take_down(name)
        return [self._held[name] for name in names]

    def client(self, name: str, answers: Cache | None = None) -> RequestClient:
        """A model as that which answers requests, from the cache of `answers` where it can."""
        tokenizer, config = self.tokenizer(name), load_config(self._sources[name])
        return RequestClient(name, tokenizer, config, self.identity(name), lambda: self.hold(name)[0], answers)

    def dense(self, name: str) -> str:
        """The id of the dense model that a model was pruned from; its own where no record tells."""
        record = finished_record(self._sources[name].folder) or {}
        return (record.get("dense") or {}).get("id", name)

    def tokenizer(self, name: str) -> "PreTrainedTokenizerBase":
        """A model's tokenizer, loaded without its weights."""
        if name not in self._tokenizers:
            self._tokenizers[name] = load_tokenizer(self._sources[name])
        return self._tokenizers[name]

    def identity(self, name: str) -> str:
        """The fingerprint of a model as it runs on this processor (see `evals.asking.fingerprint`)."""
        if name not in self._fingerprints:
            source, dtype = self._sources[name], str(self._dtype).removeprefix("torch.")
            layout = f"{dtype}::{source.layout}" if source.layout else dtype
            self._fingerprints[name] = fingerprint(source, layout, processor(self._target))
        return self._fingerprints[name]

    def layouts(self) -> list[str]:
        """The models, and where one is sparse or packed every layout that tells its gain in speed apart.

        Beside the baseline itself in our dense layout; beside a contender with zeros, itself packed, and in int8.
        They are models from then on, as if the person had named them `MODEL::LAYOUT`.
        """
        added: dict[str, list[str]] = {name: [] for name in self.names}
        for name in self.names:
            if self._sources[name].layout is not None:
                continue
            packed, footprint = (self._sources[name].folder / PACKING).exists(), self.footprint(name)
            if not packed and footprint.nonzero_parameters < (1 - WORTH_PACKING) * footprint.parameters:
                added[name] = ["auto", "int8"]
            elif packed and footprint.bytes_in_memory > footprint.parameters:
                added[name] = ["int8"]
        if any(added.values()) and not added[self.baseline] and self._sources[self.baseline].layout is None:
            added[self.baseline] = ["dense"]
        for name in (f"{name}::{layout}" for name, layouts in added.items() for layout in layouts):
            if name not in self._sources:
                self._sources[name] = locate(name)
                self._sizes[name] = self._sizes[name.rpartition("::")[0]]
        return [each for name in self.names for each in (name, *(f"{name}::{layout}" for layout in added[name]))]

    def notes(self) -> list[str]:
        """What loading did to the models so far that a reader must know, such as an adapter that was merged."""
        return list(dict.fromkeys(line for told in self._descriptions.values() for line in told["notes"]))

    def footprint(self, name: str) -> Footprint:
        """A model's footprint, from its first loading."""
        if name not in self._footprints:
            self.hold(name)
        return self._footprints[name]

    def folder(self, name: str) -> Path:
        """Where a model's files are."""
        return self._sources[name].folder

    def record(self, name: str) -> dict:
        """What results.json tells of a model."""
        footprint = asdict(self.footprint(name))
        recipe = (finished_record(self._sources[name].folder) or {}).get("config")
        return self._descriptions[name] | footprint | ({"pruning": recipe} if recipe else {})

    def _take_down(self, name: str) -> None:
        if name not in self._footprints:
            loaded = self._held[name]
            self._footprints[name] = measure(loaded.model, self._sources[name].folder)
            description = loaded.description.as_dict()
            del description["bytes"]  # told as bytes_in_memory
            self._descriptions[name] = description

    def _has_room(self, *names: str) -> bool:
        if not names:
            return False
        together = sum(self._sizes[name] for name in {*names, *self._held})
        missing = sum(self._sizes[name] for name in names if name not in self._held)
        return together <= SPARE * (available_bytes(self._target) + together - missing)

    def _located(self, name: str) -> ModelSource:
        return locate(name, room=lambda size: require(size, self._target, name))

    def _check(self, models_at_once: int) -> None:
        item_bytes = self._dtype.itemsize
        for name, source in self._sources.items():
            check_folder(source)
            check_tokenizer(source)
            self._sizes[name] = sum(header.bytes_as(item_bytes) for header in check_weights(source))
        sizes = list(self._sizes.values())
        # The baseline is one of those held together with others.
        together = max(sizes) if models_at_once == 1 else sizes[0] + sum(sorted(sizes[1:])[1 - models_at_once :])
        what = "The largest model" if models_at_once == 1 or len(sizes) == 1 else "Holding the baseline and a contender"
        require(together, self._target, what)
