"""The models under test: checked before any work, and in memory only while a metric holds them."""

import gc
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from evals.memory import Footprint, measure
from models.errors import RequestError
from models.loading import Loaded, check_folder, load, load_tokenizer
from models.memory import require
from models.policy import choose_device, choose_dtype
from models.source import locate
from models.weights import tensor_headers


class Contenders:
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
        self._item_bytes = choose_dtype(self._target, dtype).itemsize
        self._sources = {name: locate(name, room=lambda size: require(size, self._target, name)) for name in self.names}
        self._held: dict[str, Loaded] = {}
        self._footprints: dict[str, Footprint] = {}
        self._descriptions: dict[str, dict] = {}
        self._check(models_at_once)

    @property
    def baseline(self) -> str:
        """The name of the model that the others are compared with."""
        return self.names[0]

    @property
    def others(self) -> list[str]:
        """The names of all models but the baseline."""
        return self.names[1:]

    def hold(self, *names: str) -> list[Loaded]:
        """Loads exactly these models and lets go of all others; `hold()` lets go of all."""
        kept = {name: self._held[name] for name in names if name in self._held}
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
        return self._descriptions[name] | footprint

    def _take_down(self, name: str) -> None:
        if name not in self._footprints:
            loaded = self._held[name]
            self._footprints[name] = measure(loaded.model, self._sources[name].folder)
            description = loaded.description.as_dict()
            del description["bytes"]  # told as bytes_in_memory
            self._descriptions[name] = description

    def _check(self, models_at_once: int) -> None:
        sizes = []
        for name, source in self._sources.items():
            check_folder(source)
            load_tokenizer(source)
            sizes.append(sum(header.bytes_as(self._item_bytes) for header in tensor_headers(source.folder, name)))
        # The baseline is one of those held together with others.
        together = max(sizes) if models_at_once == 1 else sizes[0] + sum(sorted(sizes[1:])[1 - models_at_once :])
        what = "The largest model" if models_at_once == 1 or len(sizes) == 1 else "Holding the baseline and a contender"
        require(together, self._target, what)
