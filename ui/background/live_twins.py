"""The live twins: one more copy of a model, which takes the masks of whatever slider position was asked for last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models import Loaded
from models.console.progress import Progress
from models.console.stopping import interruptible
from models.description import describe
from models.errors import RequestError
from models.memory import parameter_bytes, require
from ui.background.shelf import Shelf
from ui.engine import PLAIN, Change, Settings, Twin
from ui.figures import Figures

if TYPE_CHECKING:
    from pruning import PruningConfig
    from pruning.live.input_norms import InputNorms
    from pruning.live.twin import LiveTwin

NETWORKS = 1  # models of which a copy is held for this
POSITIONS = 64  # slider positions that are remembered; each is a few numbers


@dataclass
class Network:
    """A dense model, its copy, what is known of the dense one, and the key of the twin whose masks the copy carries."""

    dense: Loaded
    live: LiveTwin
    loaded: Loaded
    nonzero: int
    outside: int  # of the non-zero parameters, those that are never pruned
    norms: InputNorms | None = None
    carries: str = ""


class LiveTwins:
    """Makes them, on the worker's thread alone: then no job ever sees the masks change.

    `sizes(dense)` are the settings of the calibration text that the model's input norms are taken on.
    """

    def __init__(self, figures: Figures, sizes: Callable[[Loaded], dict]):
        self._figures, self._sizes = figures, sizes
        self._networks: Shelf[Network] = Shelf(NETWORKS)
        self._twins: Shelf[Twin] = Shelf(POSITIONS)

    @staticmethod
    def possible(settings: Settings) -> bool:
        """Whether such settings can be previewed: cheap scores, no solver; the layout does not matter."""
        from pruning.live.twin import needs_norms

        try:
            needs_norms(_config(settings))
        except RequestError:
            return False
        return True

    def make(self, model: str, dense: Loaded, settings: Settings, progress: Progress) -> Twin:
        """The twin of `settings`, its perplexity measured only if it was before.

        The first time of a model its input norms are taken or read from disk, with `progress`. RequestError if the
        settings cannot be previewed, OutOfMemory if a copy would not fit.
        """
        key = f"live {model} {dense.description.revision} {settings.method} {settings.sparsity!r} {settings.pattern}"
        network = self._network(model, dense)
        settings = replace(settings, layout=PLAIN)
        change = self._mask(network, key, settings, progress)
        known = self._twins.get(key)
        twin = known or Twin(key, model, settings, network.loaded, change, live=True)
        self._twins.put(key, twin)
        return twin

    def measured(self, twin: Twin, progress: Progress | None = None) -> Twin:
        """The same twin with its perplexity on the small text beside the dense model's."""
        if twin.change.perplexity is not None:
            return twin
        network = self._networks.get(twin.model)
        self._ready(twin)
        perplexity, ratio = self._figures.perplexity(network.dense, network.loaded, progress)
        twin = replace(twin, change=replace(twin.change, perplexity=perplexity, perplexity_ratio=ratio))
        self._twins.put(twin.key, twin)
        return twin

    def get(self, key: str) -> Twin | None:
        """The twin of that key, its masks in place again if another position was looked at since."""
        if (twin := self._twins.get(key)) is None:
            return None
        return twin if self._ready(twin) else None

    def values(self) -> list[Twin]:
        """All that are remembered, oldest first."""
        return self._twins.values()

    def drop_oldest(self) -> bool:
        """Lets a copy go, for the memory. False if there was none."""
        return self._networks.drop_oldest()

    def _ready(self, twin: Twin) -> bool:
        network = self._networks.get(twin.model)
        if network is None or network.loaded is not twin.loaded:
            return False
        if network.carries != twin.key:
            self._mask(network, twin.key, twin.settings)
        return True

    def _network(self, model: str, dense: Loaded) -> Network:
        from pruning.anatomy.census import count_parameters
        from pruning.live.twin import LiveTwin

        known = self._networks.get(model)
        if known is not None and known.dense is dense:
            return known
        device = next(dense.model.parameters()).device
        require(parameter_bytes(dense.model), device, f"A second copy of {model}")
        with interruptible():
            live, census = LiveTwin(dense.model), count_parameters(dense.model)
        described = describe(live.model, model, dense.description.revision, dense.description.notes)
        outside = census.nonzero - (census.prunable - census.prunable_zeros)
        network = Network(dense, live, Loaded(live.model, dense.tokenizer, described), census.nonzero, outside)
        self._networks.put(model, network)
        return network

    def _mask(self, network: Network, key: str, settings: Settings, progress: Progress | None = None) -> Change:
        from pruning.live.input_norms import norms_of
        from pruning.live.twin import needs_norms

        dense = network.dense
        config = _config(settings, **self._sizes(dense))
        if needs_norms(config) and network.norms is None:
            with interruptible():
                network.norms = norms_of(dense.model, dense.tokenizer, config, progress=progress)
        network.carries = ""  # until it is whole
        with interruptible():
            preview = network.live.apply(config, network.norms)
        network.carries = key
        count, size = network.loaded.description.parameters, network.loaded.description.bytes
        return Change(
            parameters=(count, count),
            nonzero=(network.nonzero, network.outside + preview.prunable - preview.zeros),
            bytes=(size, size),
            perplexity=None,
            perplexity_ratio=None,
            speed=None,
            speedup=None,
            saves_memory=False,
            saves_time=False,
            note=preview.note,
        )


def _config(settings: Settings, **sizes) -> PruningConfig:
    from pruning import PruningConfig

    return PruningConfig(settings.method, settings.sparsity, settings.pattern, solver=settings.solver, **sizes)
