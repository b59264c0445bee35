"""Models timed in turns, each in a process of its own: the baseline beside each of the others."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from evals.cost.cpu_share import CpuWatch
from evals.cost.measuring_process import MeasuringProcess, no_news
from evals.cost.rounds import DISTURBED, Rounds, Until, interleave
from evals.cost.timing import Run
from models.console.progress import Progress
from models.console.units import format_percent


@dataclass(frozen=True)
class Setting:
    """How large a timed generation is: prompts in the batch, tokens of each prompt, tokens written after each."""

    batch: int = 1
    prompt_tokens: int = 128
    new_tokens: int = 64

    def suffix(self, default: "Setting") -> str:
        """What tells a metric's name from the default setting's: `[batch=8,prompt=128]`, nothing for the default."""
        return "" if self == default else f"[batch={self.batch},prompt={self.prompt_tokens}]"

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.prompt_tokens} prompt tokens, {self.new_tokens} new ones"


def pairs(
    models: list[str], device: str, dtype: str, waiting: Callable[[], None] = no_news
) -> Iterator[list[MeasuringProcess]]:
    """The loaded processes of the first model and of each other in turn, of the first alone if there is no other.

    The first one's process stays; at most two models are in memory.
    """
    start = partial(MeasuringProcess, device=device, dtype=dtype, waiting=waiting)
    with start(models[0]) as first:
        if len(models) == 1:
            first.load()
            yield [first]
        for model in models[1:]:
            with start(model) as other:
                other.wait_until_ready()  # both import their libraries together, but no load is timed meanwhile
                if not first.facts:
                    first.load()
                other.load()
                yield [first, other]


def load_seconds(model: str, device: str, dtype: str, waiting: Callable[[], None] = no_news) -> float:
    """Seconds to load the model in a fresh process."""
    with MeasuringProcess(model, device, dtype, waiting) as process:
        return process.load()["seconds"]


def time_setting(
    processes: list[MeasuringProcess],
    setting: Setting,
    until: Until,
    progress: Progress | None = None,
    count_cache: bool = False,
) -> Rounds:
    """Times a setting in every process in turns; with `count_cache` the warm-up counts the key-value cache."""

    def entrant(process: MeasuringProcess) -> tuple[str, Callable[[bool], Run]]:
        size = (setting.batch, setting.prompt_tokens, setting.new_tokens)
        return process.model, lambda warmup: process.time(*size, count_cache=count_cache and warmup)

    return interleave([entrant(process) for process in processes], until, progress, CpuWatch())


def disturbance_notes(what: str, measured: Iterable[Rounds]) -> list[str]:
    """A sentence for the reader where other programs used much of the processors; none where they did not."""
    disturbed = kept = again = 0
    for rounds in measured:
        disturbed, kept, again = disturbed + rounds.disturbed, kept + len(rounds.kept), again + rounds.remeasured
    if not disturbed:
        return []
    return [
        f"{what}: {disturbed} of {kept} rounds ran while other programs used more than {format_percent(DISTURBED, 0)} "
        f"of the processors ({again} such rounds were measured again): end those programs for quieter figures."
    ]
