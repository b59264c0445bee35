"""Speed of generation, contenders interleaved, by the field's definitions (batch of one, greedy, fixed lengths):

    TTFT          seconds from the start of the request to its first token (prefill; tokenisation not counted)
    TPOT          (end to end - TTFT) / (output tokens - 1), one value a run, in seconds (vLLM, MLPerf)
    prefill rate  prompt tokens / TTFT, in tokens a second (AIPerf)
    decode rate   1 / TPOT, in tokens a second: the first token belongs to prefill (AIPerf, optimum-benchmark)

Contenders run in turns, A B A B, so that a drift of the machine's clock or heat meets all alike; the warm-up run of
each is kept apart. The middle is the median over runs with a bootstrap interval. A speed-up is the ratio of two
medians, the first contender's time over the other's, with the rounds drawn together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evals import statistics
from evals.environment import load_average, threads
from evals.measurement import Measurement
from models.decoding import Generation
from models.description import context_length
from models.errors import Cancelled, RequestError
from models.progress import Progress, silent
from models.sampling import Sampling

Contender = tuple[str, PreTrainedModel, PreTrainedTokenizerBase]
Stop = Event | Callable[[], bool]


@dataclass(frozen=True)
class Run:
    """One generation: its time to first token and from start to last token, in seconds, and its token counts."""

    ttft: float
    seconds: float
    prompt_tokens: int
    new_tokens: int

    @property
    def tpot(self) -> float:
        """Seconds for each token after the first."""
        return (self.seconds - self.ttft) / (self.new_tokens - 1)

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens a second until the first token."""
        return self.prompt_tokens / self.ttft

    @property
    def decode_rate(self) -> float:
        """Tokens a second after the first."""
        return 1 / self.tpot


FIGURES = {"ttft": "s", "tpot": "s", "prefill_rate": "tokens/s", "decode_rate": "tokens/s"}
SPEEDUPS = {"prefill_speedup": "ttft", "decode_speedup": "tpot"}


@dataclass(frozen=True)
class Lane:
    """One contender's runs, and its medians `ttft`, `tpot` (s), `prefill_rate`, `decode_rate` (tokens/s)."""

    name: str
    runs: list[Run]
    warmup: Run
    ttft: Measurement
    tpot: Measurement
    prefill_rate: Measurement
    decode_rate: Measurement
    # Against the first contender: above 1 is faster. Empty for the first itself.
    speedups: dict[str, Measurement] = field(default_factory=dict)

    @property
    def measurements(self) -> list[Measurement]:
        """The four medians."""
        return [getattr(self, name) for name in FIGURES]


@dataclass(frozen=True)
class RaceResult:
    """All contenders' lanes, in the order given."""

    lanes: list[Lane]

    def lane(self, name: str) -> Lane:
        """The lane of the contender of that name."""
        return next(lane for lane in self.lanes if lane.name == name)

    def as_dict(self) -> dict:
        """The result as JSON types."""
        return {
            lane.name: {
                **{m.metric: m.as_dict() for m in (*lane.measurements, *lane.speedups.values())},
                "runs": [{"ttft": run.ttft, "seconds": run.seconds} for run in lane.runs],
                "warmup": {"ttft": lane.warmup.ttft, "seconds": lane.warmup.seconds},
            }
            for lane in self.lanes
        }


def race(
    contenders: Sequence[Contender],
    prompt: str,
    new_tokens: int = 64,
    repeats: int = 5,
    prompt_tokens: int | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    seed: int = 0,
) -> RaceResult:
    """Times contenders (name, model, tokenizer), which must all be in memory, one run at a time and in turns.

    Each writes exactly `new_tokens` tokens (the end-of-text token does not end a run) after the prompt, or after its
    first `prompt_tokens` tokens. `stop`, an event or a callable, is asked before every forward pass; when it says so,
    Cancelled is raised. Raises RequestError where lengths do not fit a model or a name is used twice.
    """
    prompts = _prompts(contenders, prompt, prompt_tokens, new_tokens, repeats)
    report, stopped = progress or silent, _asker(stop)
    load_before = load_average()
    rounds: list[list[Run]] = []
    for turn in range(repeats + 1):
        rounds.append([])
        for at, (name, model, tokenizer) in enumerate(contenders):
            done = (turn * len(contenders) + at) / ((repeats + 1) * len(contenders))
            report(done, f"{name}, {f'run {turn} of {repeats}' if turn else 'warm-up'}")
            rounds[-1].append(_time(model, tokenizer, prompts[at], new_tokens, stopped))
    report(1.0, f"{repeats} runs each")
    common = {"name": "interleaved", "batch": 1, "new_tokens": new_tokens, "repeats": repeats, "warmup_runs": 1}
    common |= {"sampling": "greedy", "threads": threads(), "load_before": load_before, "load_after": load_average()}
    lanes: list[Lane] = []
    for at, (name, model, _) in enumerate(contenders):
        parameter = next(model.parameters())
        place = {"dtype": str(parameter.dtype).removeprefix("torch."), "device": parameter.device.type}
        protocol = common | place | {"prompt_tokens": len(prompts[at])}
        runs = [turn[at] for turn in rounds[1:]]
        lanes.append(_lane(name, runs, rounds[0][at], protocol, lanes[0] if lanes else None, seed))
    return RaceResult(lanes)


def _prompts(
    contenders: Sequence[Contender], prompt: str, prompt_tokens: int | None, new_tokens: int, repeats: int
) -> list[list[int]]:
    names = [name for name, _, _ in contenders]
    if not names or len(set(names)) < len(names):
        raise RequestError("A race needs contenders, each with a name of its own.")
    if new_tokens < 2 or repeats < 1:
        raise RequestError("A race needs at least 2 new tokens (the first is prefill) and 1 repeat.")
    prompts = []
    for name, model, tokenizer in contenders:
        ids = tokenizer(prompt, verbose=False)["input_ids"][:prompt_tokens]
        if not ids or len(ids) < (prompt_tokens or 0):
            raise RequestError(f"The prompt has {len(ids)} tokens for {name}: give a longer one.")
        context = context_length(model.config.get_text_config())
        if len(ids) + new_tokens > context:
            raise RequestError(
                f"{len(ids)} prompt tokens and {new_tokens} new ones do not fit the context of {name} ({context}): "
                "shorten one of them."
            )
        prompts.append(ids)
    return prompts


def _asker(stop: Stop | None) -> Callable[[], bool]:
    if stop is None:
        return lambda: False
    return stop.is_set if isinstance(stop, Event) else stop


def _time(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    new_tokens: int,
    stopped: Callable[[], bool],
) -> Run:
    generation = Generation(model, tokenizer, prompt, Sampling(max_new_tokens=new_tokens, ignore_end=True))
    try:
        while not generation.finished:
            if stopped():
                raise Cancelled("The race was stopped; nothing was measured.")
            generation.step()
        times = generation.token_times
        return Run(times[0], times[-1], len(prompt), len(generation.ids))
    finally:
        generation.close()


def _lane(name: str, runs: list[Run], warmup: Run, protocol: dict, first: Lane | None, seed: int) -> Lane:
    medians = {
        figure: _measured(figure, unit, statistics.median(_values(runs, figure), seed), protocol)
        for figure, unit in FIGURES.items()
    }
    speedups = {}
    if first is not None:
        for speedup, figure in SPEEDUPS.items():
            ratio = statistics.ratio_of_medians(_values(first.runs, figure), _values(runs, figure), seed)
            speedups[speedup] = _measured(speedup, "times", ratio, protocol | {"ratio_of": figure})
    return Lane(name, runs, warmup, **medians, speedups=speedups)


def _values(runs: list[Run], figure: str) -> np.ndarray:
    return np.array([getattr(run, figure) for run in runs])


def _measured(metric: str, unit: str, estimate: statistics.Estimate, protocol: dict) -> Measurement:
    return Measurement(metric, estimate.value, unit, estimate.interval, estimate.stderr, estimate.n, protocol)
