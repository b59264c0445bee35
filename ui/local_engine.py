"""The real engine: models of this machine, pruned here, kept in memory while there is room."""

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from models import Loaded, load
from models.catalogue import entries
from models.console.progress import Progress, part
from models.console.stopping import aside, give_way, interruptible
from models.description import describe
from models.errors import RequestError
from models.formats.checking import check_folder
from models.memory import OutOfMemory, parameter_bytes, require
from models.source import locate_at_once
from ui.background.errand import CANCELLED, DONE, FAILED, Errand, Standing
from ui.background.fetching import GRACE, Fetcher, announcement
from ui.background.live_twins import LiveTwins
from ui.background.shelf import Shelf
from ui.background.worker import Job, Worker
from ui.engine import LAYOUTS, NO_SOLVER, Method, Settings, Twin
from ui.figures import Figures
from ui.forms import Form, TextForm, form_of
from ui.methods import methods_of_registry

DENSE_PLACES = 2  # dense models kept in memory at once
TWIN_PLACES = 4  # pruned twins kept in memory at once, over all visitors
# Of calibration text that a twin is made with here, since a visitor waits for it: where only the size of inputs is read,
# and where their Gram matrices or gradients are. In windows of this length, which costs less attention than longer ones.
NORM_TOKENS, CALIBRATION_TOKENS, WINDOW = 1 << 13, 1 << 14, 1 << 10


class LocalEngine:
    """See `ui.engine.Engine`. `model` is loaded at once.

    The rest comes once `begin` is called: `pruned` (a saved model to stand beside it), and `awaited`, a model of the
    catalogue that is fetched and then becomes the default model. `told(line)` is given what a person at the console
    must know of both.
    """

    def __init__(
        self,
        model: str = "embedded",
        pruned: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        free_choice: bool = True,
        awaited: str | None = None,
        told: Callable[[str], None] = lambda line: None,
    ):
        self.default_model = model
        self.free_choice = free_choice
        self._device, self._dtype = device, dtype
        self._dense: Shelf[Loaded] = Shelf(DENSE_PLACES)
        self._twins: Shelf[Twin] = Shelf(TWIN_PLACES)
        self._figures = Figures()
        self._live = LiveTwins(self._figures, calibration_sizes)
        self._forms: dict[str, Form] = {}
        self._awaited, self._told = awaited, told
        self.fetcher = Fetcher(self._make_ready, self._fetched)
        if awaited is not None:
            self.fetcher.expect(awaited)
        self.beside: Errand | None = None
        self.worker = Worker()
        if pruned is not None:
            _refuse_at_once(pruned)
            place = lambda progress: self._place_beside(model, pruned, progress)  # noqa: E731
            self.beside = Errand(pruned, place, self._on_the_worker, self._placed)
        self.worker.run(lambda: self._load(model))

    def begin(self, grace: float = GRACE) -> None:
        """Begins what need not be there when the page opens."""
        if self.beside is not None:
            self.beside.start()
        if self._awaited is not None:
            self._told(announcement(self.fetcher.entry))
            self.fetcher.start(self._awaited, grace)

    def close(self) -> None:
        """Ends all that runs."""
        if self.beside is not None:
            self.beside.cancel()
        self.fetcher.close()
        self.worker.close()

    def choices(self) -> list[str]:
        """The default model and those of the catalogue; where visitors may have none fetched, those that are here."""
        named = [entry.name for entry in entries() if self.free_choice or not self.fetcher.missing(entry.name)]
        return list(dict.fromkeys((self.default_model, *named)))

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
        if (loaded := self._dense.get(model)) is not None:
            return loaded
        if self.fetcher.missing(model):  # that takes minutes, in which nobody else could use the page
            raise RequestError(
                f"{model} is not here yet: choose it in the page's list, or run `python -m models fetch {model}`."
            )
        return self._load(model)

    def form(self, model: str) -> Form:
        """The form of a model that is or was in memory; plain text for another."""
        return self._forms.get(model, TextForm())

    def prune(self, model: str, settings: Settings, progress: Progress) -> Twin:
        """Copies the dense model, prunes the copy, measures both, and only then places it among the twins.

        Raises Cancelled, wherever the work is, once whoever waits for it is gone.
        """
        # The heavy half of the program, which a start without a twin need not wait for.
        from pruning import PruningConfig, Recipe, run
        from pruning.adaptation.matching import can_match
        from pruning.anatomy.roles import find_anatomy
        from pruning.packing.format import Format
        from pruning.packing.kernels import kernels

        dense = self.dense(model)
        matches = settings.solver != NO_SOLVER and can_match(find_anatomy(dense.model))
        config = PruningConfig(
            settings.method,
            settings.sparsity,
            settings.pattern,
            solver=settings.solver,
            match="dense" if matches else "none",
        )
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
            config = replace(config, **calibration_sizes(dense, settings))
            layout = LAYOUTS[settings.layout]
            if layout is not None:
                aside(kernels)  # compiled the first time, by a compiler that cannot be cancelled
            recipe = Recipe(config, None if layout is None else Format.parse(layout))
            report = run(recipe, dense._replace(model=network), progress=part(progress, 0.0, 0.7)).report
        described = describe(network, model, dense.description.revision, dense.description.notes)
        loaded = Loaded(network, dense.tokenizer, described)
        change = self._figures.change(dense, loaded, report, part(progress, 0.7, 1.0))
        give_way()
        return self._place(Twin(key, model, settings, loaded, change))

    def previewable(self, settings: Settings) -> bool:
        """Whether `preview` can show these settings."""
        return self._live.possible(settings)

    def preview(self, model: str, settings: Settings, progress: Progress) -> Twin:
        """The live twin of `settings`. RequestError if they cannot be previewed."""
        dense = self.dense(model)
        return self._making_room(lambda: self._live.make(model, dense, settings, progress))

    def measured(self, twin: Twin) -> Twin:
        """A live twin with its perplexity."""
        return self._live.measured(twin)

    def twin(self, key: str) -> Twin | None:
        """The twin of that key; RequestError if it had to leave the memory."""
        if not key:
            return None
        if (found := self._twins.get(key) or self._live.get(key)) is None:
            raise RequestError("That pruned model is no longer in memory: press Prune to make it again.")
        return found

    def latest(self, model: str) -> Twin | None:
        """The newest twin of a model."""
        return next((twin for twin in reversed(self._twins.values()) if twin.model == model), None)

    def twins(self) -> list[Twin]:
        """All twins, oldest first, the live ones before the others."""
        return [*self._live.values(), *self._twins.values()]

    def _load(self, model: str) -> Loaded:
        with interruptible():
            loaded = self._making_room(lambda: load(model, device=self._device, dtype=self._dtype))
        self._dense.put(model, loaded)
        self._forms[model] = form_of(loaded)
        return loaded

    def _make_ready(self, name: str, progress: Progress) -> None:
        for _ in self.worker.follow(lambda publish: publish(self.dense(name)), threading.Event()):
            progress(1.0, f"Loading {name}")
        if name == self._awaited:
            self.default_model = name

    def _fetched(self, name: str, standing: Standing) -> None:
        lines = {DONE: f"{name} is here and ready.", CANCELLED: f"Fetching {name} was cancelled."}
        self._told(lines.get(standing.state) or str(standing.error))

    def _on_the_worker(self, run: Callable[[], None]) -> None:
        self.worker.submit(Job(lambda publish: run(), threading.Event()))

    def _placed(self, standing: Standing) -> None:
        if standing.state == FAILED:
            self._told(f"The model of --pruned does not stand beside: {standing.error}")

    def _place_beside(self, model: str, pruned: str, progress: Progress) -> Twin:
        dense = self.dense(model)
        progress(0.0, f"Loading {pruned}")
        loaded = self._making_room(lambda: load(pruned, device=self._device, dtype=self._dtype))
        if loaded.tokenizer.get_vocab() != dense.tokenizer.get_vocab():
            raise RequestError(f"{pruned} has another vocabulary than {model}: name the model that it was pruned from.")
        change = self._figures.change(dense, loaded, None, part(progress, 0.2, 1.0))
        return self._place(Twin(f"{model} beside {pruned}", model, None, loaded, change))

    def _place(self, twin: Twin) -> Twin:
        self._twins.put(twin.key, twin)
        return twin

    def _making_room(self, attempt: Callable):
        """Tries until it fits, letting first live copies, then the oldest twins and then the oldest dense models go."""
        while True:
            try:
                return attempt()
            except OutOfMemory:
                if not (self._live.drop_oldest() or self._twins.drop_oldest() or self._dense.drop_oldest()):
                    raise


def calibration_sizes(dense: Loaded, settings: Settings | None = None) -> dict:
    """How many windows of how many tokens a twin of `settings` is made with here, as settings of `PruningConfig`.

    None: a live preview.
    """
    from pruning.calibrating.windows import window_length

    cheap = settings is None or LiveTwins.possible(settings)
    length = min(WINDOW, window_length(dense.model, None))
    return {"samples": max(1, (NORM_TOKENS if cheap else CALIBRATION_TOKENS) // length), "sequence_length": length}


def _refuse_at_once(pruned: str) -> None:
    """RequestError for what can be known of a saved model before anything is loaded."""
    if not pruned.strip():
        raise RequestError("Name a pruned model, or omit --pruned.")
    if (source := locate_at_once(pruned)) is not None:
        check_folder(source)
