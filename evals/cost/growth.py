"""How cost grows: a power law fitted to times and bytes over a sweep of sizes.

    cost = a * size ** exponent,  by least squares on the logarithms of both

An exponent of 1 means that twice the size costs twice as much, 0 that the size does not matter, 2 that it costs four
times as much. Real costs are sums of powers (attention's square beside the matrices' line), so that the exponent is
that of the sizes measured, and its interval, Student's t over the points, tells how well one power describes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evals import statistics
from evals.cost.process_race import Setting
from evals.cost.rounds import Rounds
from evals.cost.timing import Run

DECIMALS = 9  # the noise of the logarithms themselves
CONTEXT_TOKENS = 8  # written after each prompt of the sweep over context lengths
BATCH_PROMPT, BATCH_TOKENS = 32, 8
OUTPUT_PROMPT = 16
FEWEST = 5  # points of a sweep, where the context has room for them


@dataclass(frozen=True)
class Sweep:
    """Settings that differ in one size, smallest first; `what` is that size in words."""

    name: str
    what: str
    settings: list[Setting]


@dataclass(frozen=True)
class Law:
    """One cost over one size, both read off a run; `cost` in `unit`. The cache is counted in warm-up runs only."""

    metric: str
    sweep: str
    x: str
    y: str
    size: Callable[[Run], float]
    cost: Callable[[Run], float]
    warmup: bool = False


LAWS = (
    Law(
        "prefill_exponent", "context", "prompt tokens", "seconds to the first token",
        lambda run: run.prompt_tokens, lambda run: run.ttft,
    ),
    Law(
        "decode_exponent", "context", "tokens in the context", "seconds a token",
        lambda run: run.prompt_tokens + run.new_tokens / 2, lambda run: run.tpot,
    ),
    Law(
        "cache_exponent", "context", "tokens in the cache", "bytes of the cache at its largest",
        # The last token is written and not read.
        lambda run: run.prompt_tokens + run.new_tokens - 1, lambda run: run.cache_bytes, warmup=True,
    ),
    Law("batch_exponent", "batch", "prompts in the batch", "seconds", lambda run: run.batch, lambda run: run.seconds),
    Law("output_exponent", "output", "tokens written", "seconds", lambda run: run.new_tokens, lambda run: run.seconds),
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One size of a sweep: the cost's median over the runs with its interval (None for one run or an exact count)."""

    x: float
    y: float
    interval: tuple[float, float] | None
    runs: int

    def as_dict(self) -> dict:
        """The point as JSON types."""
        return {"x": self.x, "y": self.y, "interval": list(self.interval) if self.interval else None, "runs": self.runs}


def sweeps(context: int, quick: bool) -> list[Sweep]:
    """The three sweeps that a context has room for, in steps of two; with `quick` in longer ones, and not so far."""
    factor, most_batch, most_output = (4.0, 16, 128) if quick else (2.0, 32, 512)
    contexts = geometric(16, context - CONTEXT_TOKENS, factor)
    batch_prompt = max(1, min(BATCH_PROMPT, context - BATCH_TOKENS))
    output_prompt = max(1, min(OUTPUT_PROMPT, context // 4))
    outputs = geometric(8, min(most_output, context - output_prompt), 2.0)
    batches = geometric(1, most_batch, 2.0)
    return [
        Sweep("context", "context length", [Setting(1, tokens, CONTEXT_TOKENS) for tokens in contexts]),
        Sweep("batch", "batch size", [Setting(batch, batch_prompt, BATCH_TOKENS) for batch in batches]),
        Sweep("output", "output length", [Setting(1, output_prompt, tokens) for tokens in outputs]),
    ]


def geometric(start: int, stop: int, factor: float, fewest: int = FEWEST) -> list[int]:
    """Whole numbers from `start` to `stop`, each `factor` times the last or less, evenly so; the last is `stop`.

    Shorter steps are taken where there would be fewer than `fewest`. Empty if `stop` is below 1.
    """
    if stop < 1:
        return []
    start = min(start, stop)
    steps = max(fewest - 1, int(np.ceil(np.log(stop / start) / np.log(factor) - 1e-9)))
    return sorted({round(start * (stop / start) ** (step / steps)) for step in range(steps + 1)})


def point(law: Law, rounds: Rounds, at: int, seed: int = 0) -> Point:
    """One contender's cost at one size."""
    runs = [turn[at] for turn in rounds.warmups[:1]] if law.warmup else rounds.of(at)
    cost = statistics.median(np.array([law.cost(run) for run in runs]), seed)
    return Point(law.size(runs[0]), cost.value, cost.interval, len(runs))


def fit(points: Sequence[Point]) -> statistics.Estimate:
    """The exponent of two or more points with its t interval, which two points do not have."""
    return _slope([each.x for each in points], [each.y for each in points])


def fit_difference(first: Sequence[Point], second: Sequence[Point]) -> statistics.Estimate:
    """The second's exponent less the first's: that of their ratio, in which what both met at a size cancels."""
    return _slope([each.x for each in first], [b.y / a.y for a, b in zip(first, second, strict=True)])


def _slope(sizes: Sequence[float], costs: Sequence[float]) -> statistics.Estimate:
    # By hand: scipy's linregress gives no error where all costs are equal.
    x, y = (np.log(np.asarray(values, dtype=np.float64)) for values in (sizes, costs))
    count, spread = len(x), float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    if count < 3:
        return statistics.Estimate(round(slope, DECIMALS), None, None, count)
    residuals = y - y.mean() - slope * (x - x.mean())
    stderr = float(np.sqrt((residuals**2).sum() / (count - 2) / spread))
    # Student's t of n - 2 degrees of freedom: a slope and a height were fitted.
    slope, stderr = round(slope, DECIMALS), round(stderr, DECIMALS)
    if not stderr:  # of counts, such as bytes: points that lie on a line are that line, and no sample of it
        return statistics.Estimate(slope, 0.0, (slope, slope), count)
    return statistics.around(slope, stderr, count - 1)._replace(n=count)
