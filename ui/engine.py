"""What the page asks of the models: the `Engine` protocol and the values that pass through it.

The page knows nothing else about models, so that its tests can put a small engine of their own in its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

from evals.measurement import Measurement
from models.console.progress import Progress
from models.errors import RequestError
from ui.background.worker import Worker

if TYPE_CHECKING:
    from models import Loaded
    from ui.background.errand import Errand
    from ui.background.fetching import Fetcher
    from ui.forms import Form

UNSTRUCTURED = "unstructured"  # the pattern that every method of single weights can make
PLAIN = "plain"
LAYOUTS = {PLAIN: None, "packed": "auto", "packed int8": "int8"}  # of a twin in memory, and the format of each
NO_SOLVER = "none"  # the weights that stay keep their values


@dataclass(frozen=True)
class Method:
    """A pruning method to choose: its name, its one line, the structure it removes, the patterns and solvers it takes.

    `solvers` are those that can work with its scores, each with its one line, `none` first.
    """

    name: str
    summary: str
    structure: str
    patterns: tuple[str, ...]  # empty for a method that removes whole blocks: it has no pattern
    solvers: Mapping[str, str] = field(default_factory=lambda: {NO_SOLVER: ""})


@dataclass(frozen=True)
class Settings:
    """How to prune. `sparsity` is a fraction; where the pattern fixes it, it follows from the pattern."""

    method: str = "wanda"
    sparsity: float = 0.5
    pattern: str = UNSTRUCTURED
    solver: str = NO_SOLVER
    layout: str = PLAIN

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise RequestError(f"There is no layout {self.layout!r}: choose one of {', '.join(LAYOUTS)}.")
        if (share := pattern_sparsity(self.pattern)) is not None:
            object.__setattr__(self, "sparsity", share)
        if not 0 < self.sparsity < 1:
            raise RequestError(f"The sparsity must lie between 0 and 1, not {self.sparsity:g}: choose one such as 0.5.")


@dataclass(frozen=True)
class Change:
    """What pruning changed, dense first: parameters, non-zero parameters, bytes in memory, perplexity, decode rate.

    `perplexity_ratio` is pruned over dense on the same windows, `speedup` how many times as fast it decodes, timed in
    turns; all four are None where they were not measured, as of a live preview. `note` is the pruner's own sentence
    (English). `slow_path` tells why a packed twin is off the fast path, and `warnings` are what else the pruner and the
    packer found worth saying (English).
    """

    parameters: tuple[int, int]
    nonzero: tuple[int, int]
    bytes: tuple[int, int]
    perplexity: tuple[Measurement, Measurement] | None
    perplexity_ratio: Measurement | None
    speed: tuple[Measurement, Measurement] | None
    speedup: Measurement | None
    saves_memory: bool
    saves_time: bool
    note: str
    slow_path: str = ""
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict:
        """The change as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Twin:
    """A pruned model beside its dense one. `key` names it: the same model and settings give the same key.

    `settings` is None for a model that was pruned elsewhere and came with --pruned. `live`: a preview, whose masks come
    from the dense model's statistics; the next one of its model takes its place in memory.
    """

    key: str
    model: str
    settings: Settings | None
    loaded: "Loaded"
    change: Change
    live: bool = False


class Engine(Protocol):
    """The models behind the page. All but `worker` and the plain look-ups are called on the worker's thread."""

    worker: Worker
    default_model: str
    free_choice: bool  # whether a visitor may name any folder or Hub id, and have models of the catalogue fetched
    fetcher: "Fetcher"  # of models of the catalogue
    beside: "Errand | None"  # places the twin of --pruned, None without that

    def choices(self) -> list[str]:
        """The models to choose from."""
        ...

    def methods(self) -> Sequence[Method]:
        """The pruning methods to choose from."""
        ...

    def dense(self, model: str) -> "Loaded":
        """The dense model, loaded if it is not yet there. RequestError for what the visitor can mend."""
        ...

    def form(self, model: str) -> "Form":
        """The form in which a model is asked, which is known once it was loaded; plain text till then.

        May be called on any thread.
        """
        ...

    def prune(self, model: str, settings: Settings, progress: Progress) -> Twin:
        """Makes the pruned twin. If it fails or `progress` raises Cancelled, all earlier twins are as they were."""
        ...

    def previewable(self, settings: Settings) -> bool:
        """Whether `preview` can show these settings: cheap scores without a solver."""
        ...

    def preview(self, model: str, settings: Settings, progress: Progress) -> Twin:
        """The live twin, within a second once the model's statistics are there; its perplexity is not measured yet."""
        ...

    def measured(self, twin: Twin) -> Twin:
        """A live twin with its perplexity beside the dense model's."""
        ...

    def twin(self, key: str) -> Twin | None:
        """The twin of that key, None if the key is empty. RequestError if it is no longer in memory."""
        ...

    def latest(self, model: str) -> Twin | None:
        """The twin that was made last of a model, if one is in memory."""
        ...

    def twins(self) -> list[Twin]:
        """All twins in memory, oldest first."""
        ...


def pattern_sparsity(pattern: str) -> float | None:
    """The fraction of zeros that a pattern fixes, None for one that fixes none or is written wrongly."""
    from pruning.patterns import parse

    try:
        return parse(pattern).implied_sparsity
    except RequestError:
        return None
