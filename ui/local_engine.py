"""The real engine: models of this machine, pruned here, kept in memory while there is room."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

from models import Loaded, load
from models.description import describe
from models.errors import RequestError
from models.memory import OutOfMemory, parameter_bytes, require
from models.progress import Progress, part
from models.stopping import aside, give_way, interruptible
from ui.engine import LAYOUTS, Method, Settings, Twin
from ui.figures import Figures
from ui.methods import methods_of_registry
from ui.shelf import Shelf
from ui.worker import Worker

DENSE_PLACES = 2  # dense models kept in memory at once
TWIN_PLACES = 4  # pruned twins kept in memory at once, over all visitors


class LocalEngine:
    """See `ui.engine.Engine`. `model` is loaded at once, `pruned` too if given: a saved model to stand beside it."""

    def __init__(
        self,
        model: str = "embedded",
        pruned: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        free_choice: bool = True,
    ):
        self.default_model = model
        self.free_choice = free_choice
        self._device, self._dtype = device, dtype
        self._dense: Shelf[Loaded] = Shelf(DENSE_PLACES)
        self._twins: Shelf[Twin] = Shelf(TWIN_PLACES)
        self._figures = Figures()
        self.worker = Worker()
        self.worker.run(lambda: self.dense(model))
        if pruned is not None:
            self.worker.run(lambda: self._place_beside(model, pruned))

    def choices(self) -> list[str]:
        """The default model and the embedded one."""
        return list(dict.fromkeys((self.default_model, "embedded")))

    def methods(self) -> Sequence[Method]:
        """The registry's methods."""
        return methods_of_registry()

    def dense(self, model: str) -> Loaded:
        """The dense model, loaded if need be; others leave the memory if it would not fit beside them."""
        model = model.strip()
        if not model:
            raise RequestError("Name a model: `embedded`, a folder, or a Hub id such as owner/name.")
        if not self.free_choice and model not in self.choices():
            raise RequestError(f"Here one can choose {' or '.join(self.choices())}: run Espalier yourself for others.")
        if (loaded := self._dense.get(model)) is None:
            with interruptible():
                loaded = self._making_room(lambda: load(model, device=self._device, dtype=self._dtype))
            self._dense.put(model, loaded)
        return loaded

    def prune(self, model: str, settings: Settings, progress: Progress) -> Twin:
        """Copies the dense model, prunes the copy, measures both, and only then places it among the twins.

        Raises Cancelled, wherever the work is, once whoever waits for it is gone.
        """
        # The heavy half of the program, which a start without a twin need not wait for.
        from pruning import PruningConfig, prune
        from pruning.packing.format import Format
        from pruning.packing.install import pack
        from pruning.packing.kernels import kernels

        config = PruningConfig(settings.method, settings.sparsity, settings.pattern, solver=settings.solver)
        dense = self.dense(model)
        # With the weights, which may be others than when a twin was made of a model of that name.
        of = f"{model} {dense.description.revision}"
        key = f"{of} {settings.method} {settings.sparsity!r} {settings.pattern} {settings.solver} {settings.layout}"
        if (known := self._twins.get(key)) is not None:
            return known
        size = parameter_bytes(dense.model)
        device = next(dense.model.parameters()).device
        self._making_room(lambda: require(size, device, f"A second copy of {model}"))
        with interruptible():
            network = copy.deepcopy(dense.model)
            report = prune(network, dense.tokenizer, config, progress=part(progress, 0.0, 0.6))
            if (layout := LAYOUTS[settings.layout]) is not None:
                aside(kernels)  # compiled the first time, by a compiler that heeds nobody
                packing = pack(network, Format.parse(layout), progress=part(progress, 0.6, 0.7))
                report = replace(report, packing=packing)
        described = describe(network, model, dense.description.revision, dense.description.notes)
        loaded = Loaded(network, dense.tokenizer, described)
        change = self._figures.change(dense, loaded, report, part(progress, 0.7, 1.0))
        give_way()
        return self._place(Twin(key, model, settings, loaded, change))

    def twin(self, key: str) -> Twin | None:
        """The twin of that key; RequestError if it had to leave the memory."""
        if not key:
            return None
        if (found := self._twins.get(key)) is None:
            raise RequestError("That pruned model is no longer in memory: press Prune to make it again.")
        return found

    def latest(self, model: str) -> Twin | None:
        """The newest twin of a model."""
        return next((twin for twin in reversed(self._twins.values()) if twin.model == model), None)

    def twins(self) -> list[Twin]:
        """All twins, oldest first."""
        return self._twins.values()

    def _place_beside(self, model: str, pruned: str) -> Twin:
        if not pruned.strip():
            raise RequestError("Name a pruned model, or leave --pruned away.")
        dense = self.dense(model)
        loaded = self._making_room(lambda: load(pruned, device=self._device, dtype=self._dtype))
        if loaded.tokenizer.get_vocab() != dense.tokenizer.get_vocab():
            raise RequestError(f"{pruned} has another vocabulary than {model}: name the model that it was pruned from.")
        change = self._figures.change(dense, loaded, None)
        return self._place(Twin(f"{model} beside {pruned}", model, None, loaded, change))

    def _place(self, twin: Twin) -> Twin:
        self._twins.put(twin.key, twin)
        return twin

    def _making_room(self, attempt: Callable):
        """Tries until it fits, letting first the oldest twins and then the oldest dense models go."""
        while True:
            try:
                return attempt()
            except OutOfMemory:
                if not (self._twins.drop_oldest() or self._dense.drop_oldest()):
                    raise
