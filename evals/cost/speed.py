"""Speed of generation by the field's definitions (greedy, fixed lengths, equal prompts in a batch):

    TTFT          seconds from the start of the request to its first token (prefill; tokenisation not counted)
    TPOT          (end to end - TTFT) / (output tokens - 1), one value a run, in seconds (vLLM, MLPerf)
    ITL           every gap between two consecutive tokens, pooled over the runs, in seconds (vLLM)
    prefill rate  prompt tokens of the batch / TTFT, in tokens a second (AIPerf)
    decode rate   batch / TPOT, in tokens a second: the first token belongs to prefill (AIPerf, optimum-benchmark)
    output rate   output tokens of the batch / end to end, prefill included, in tokens a second (vLLM)
    load time     seconds to read the weights and move them to the device, in a fresh process, libraries imported

ModelPool run in turns (`evals.cost.rounds`); warm-up runs are kept apart. The middle is the median over runs with a
bootstrap interval. A speed-up is the ratio of two medians, the first contender's time over the other's, with the
rounds drawn together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evals import statistics
from evals.cost.latency import enough_for, pooled_percentiles
from evals.cost.rounds import Entrant, Until, interleave
from evals.cost.timing import Run, clock_for, never, time_generation
from evals.environment import load_average, threads
from evals.measurement import Measurement
from models.console.progress import Progress
from models.decoding import PREFILL_CHUNK
from models.description import context_length
from models.errors import RequestError
from models.forward.state import open_state
from models.text.prompts import prompt_ids

Contender = tuple[str, PreTrainedModel, PreTrainedTokenizerBase]
Stop = Event | Callable[[], bool]

FIGURES = {"ttft": "s", "tpot": "s", "prefill_rate": "tokens/s", "decode_rate": "tokens/s", "output_rate": "tokens/s"}
SPEEDUPS = {"prefill_speedup": "ttft", "decode_speedup": "tpot"}
PERCENTILES = {"ttft": (90, 99), "itl": (50, 90, 99)}  # the median TTFT is `ttft` itself
DEFINITIONS = {
    "ttft": "seconds from the start of the request to its first token, tokenisation not counted",
    "tpot": "(end to end - TTFT) / (output tokens - 1), one value a run",
    "itl": "seconds between two consecutive tokens, pooled over the runs",
    "prefill_rate": "prompt tokens of the batch / TTFT",
    "decode_rate": "batch / TPOT: the first token belongs to prefill",
    "output_rate": "output tokens of the batch / end to end, prefill included",
    "load_time": "seconds to read the weights and move them to the device in a fresh process, libraries imported",
    "prefill_speedup": "the baseline's median TTFT / this model's",
    "decode_speedup": "the baseline's median TPOT / this model's",
}


@dataclass(frozen=True)
class Lane:
    """One contender's runs, and its medians `ttft`, `tpot` (s), and its rates (tokens/s)."""

    name: str
    runs: list[Run]
    warmup: Run
    ttft: Measurement
    tpot: Measurement
    prefill_rate: Measurement
    decode_rate: Measurement
    output_rate: Measurement
    # Against the first contender: above 1 is faster. Empty for the first itself.
    speedups: dict[str, Measurement] = field(default_factory=dict)

    @property
    def measurements(self) -> list[Measurement]:
        """The medians."""
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
    prompt: str | Sequence[int],
    new_tokens: int = 64,
    repeats: int = 5,
    prompt_tokens: int | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    seed: int = 0,
) -> RaceResult:
    """Times contenders (name, model, tokenizer), which must all be in memory, one run at a time and in turns.

    The prompt is a text, or token ids. Each writes exactly `new_tokens` tokens (the end-of-text token does not end a
    run) after it, or after its first `prompt_tokens` tokens. `stop`, an event or a callable, is asked before every
    forward pass; when it says so, Cancelled is raised. Raises RequestError where lengths do not fit a model or a name is
    used twice.
    """
    prompts = _prompts(contenders, prompt, prompt_tokens, new_tokens, repeats)
    stopped = _asker(stop)
    load_before = load_average()
    pairs = zip(contenders, prompts, strict=True)
    entrants = [_entrant(contender, ids, new_tokens, stopped) for contender, ids in pairs]
    rounds = interleave(entrants, Until(repeats), progress)
    common = {"name": "interleaved", "batch": 1, "new_tokens": new_tokens, "repeats": repeats, "warmup_runs": 1}
    common |= {"sampling": "greedy", "threads": threads(), "load_before": load_before, "load_after": load_average()}
    lanes: list[Lane] = []
    for at, (name, model, _) in enumerate(contenders):
        place = {"dtype": str(model.dtype).removeprefix("torch."), "device": model.device.type}
        place |= {"clock": clock_for(model.device).name, "prompt_tokens": len(prompts[at])}
        place["cache"] = open_state(model).name
        first = lanes[0] if lanes else None
        lanes.append(make_lane(name, rounds.of(at), rounds.warmups[0][at], common | place, first, seed))
    return RaceResult(lanes)


def make_lane(
    name: str, runs: list[Run], warmup: Run, protocol: dict, first: Lane | None = None, seed: int = 0
) -> Lane:
    """The medians of one contender's runs, and its speed-ups over the first lane, whose runs are of the same rounds."""
    medians = {
        figure: measured(figure, unit, statistics.median(_values(runs, figure), seed), protocol)
        for figure, unit in FIGURES.items()
    }
    speedups = {}
    if first is not None:
        for speedup, figure in SPEEDUPS.items():
            ratio = statistics.ratio_of_medians(_values(first.runs, figure), _values(runs, figure), seed)
            speedups[speedup] = measured(speedup, "times", ratio, protocol | {"ratio_of": figure})
    return Lane(name, runs, warmup, **medians, speedups=speedups)


def percentiles(runs: Sequence[Run], protocol: dict, seed: int = 0) -> list[Measurement]:
    """The percentiles of TTFT and ITL that so many runs can show: `ttft_p90`, `itl_p50`, `itl_p99` and so on."""
    rows = {"ttft": np.array([[run.ttft] for run in runs]), "itl": np.stack([run.gaps for run in runs])}
    found = []
    for kind, wanted in PERCENTILES.items():
        shown = [percentile for percentile in wanted if enough_for(percentile, rows[kind].size)]
        estimates = pooled_percentiles(rows[kind], shown, seed) if shown else []
        for percentile, estimate in zip(shown, estimates, strict=True):
            found.append(measured(f"{kind}_p{percentile}", "s", estimate, protocol))
    return found


def measured(metric: str, unit: str, estimate: statistics.Estimate, protocol: dict) -> Measurement:
    """An estimate as a measurement, with the definition of its metric in the protocol."""
    definition = DEFINITIONS.get(metric) or DEFINITIONS[metric.split("_")[0]]
    protocol = protocol | {"definition": definition}
    return Measurement(metric, estimate.value, unit, estimate.interval, estimate.stderr, estimate.n, protocol)


def _entrant(contender: Contender, ids: list[int], new_tokens: int, stopped: Callable[[], bool]) -> Entrant:
    name, model, _ = contender
    prompts = torch.tensor([ids], device=next(model.parameters()).device)
    return name, lambda warmup: time_generation(model, prompts, new_tokens, stopped, PREFILL_CHUNK)


def _prompts(
    contenders: Sequence[Contender], prompt: str | Sequence[int], prompt_tokens: int | None, new_tokens: int,
    repeats: int,
) -> list[list[int]]:  # fmt: skip
    names = [name for name, _, _ in contenders]
    if not names or len(set(names)) < len(names):
        raise RequestError("A race needs contenders, each with a name of its own.")
    if new_tokens < 2 or repeats < 1:
        raise RequestError("A race needs at least 2 new tokens (the first is prefill) and 1 repeat.")
    prompts = []
    for name, model, tokenizer in contenders:
        ids = (prompt_ids(tokenizer, prompt) if isinstance(prompt, str) else list(prompt))[:prompt_tokens]
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
        return never
    return stop.is_set if isinstance(stop, Event) else stop


def _values(runs: list[Run], figure: str) -> np.ndarray:
    return np.array([getattr(run, figure) for run in runs])
