"""Latency distributions: percentiles pooled over runs, and the names that vLLM's benchmark gives to them."""

from collections.abc import Sequence

import numpy as np

from evals.cost.timing import Run
from evals.statistics import Estimate
from evals.statistics.resampling import percentile_interval

RESAMPLES = 1000
VLLM_PERCENTILES = (50, 90, 99)


def enough_for(percentile: float, count: int) -> bool:
    """Whether `count` values have at least one beyond the percentile: 10 for p90, 100 for p99."""
    return count * (100 - percentile) >= 100


def pooled_percentiles(rows: np.ndarray, percentiles: Sequence[float], seed: int = 0) -> list[Estimate]:
    """Percentiles (linear interpolation) of all values of `rows` [runs, values a run] together.

    The interval is a percentile bootstrap that draws whole runs, since what one run's values share (a clock, a heat)
    makes them alike. `n` counts values.
    """
    rows = np.asarray(rows, dtype=np.float64)
    values = np.percentile(rows, percentiles)
    if len(rows) < 2:
        return [Estimate(float(value), None, None, rows.size) for value in values]
    drawn = np.random.default_rng(seed).integers(0, len(rows), size=(RESAMPLES, len(rows)))
    replicates = np.stack([np.percentile(rows[chosen], percentiles) for chosen in drawn])
    return [
        percentile_interval(float(value), column, rows.size) for value, column in zip(values, replicates.T, strict=True)
    ]


def vllm_names(runs: Sequence[Run]) -> dict[str, float]:
    """The latencies of the runs under the names of vLLM's `bench serve`, in milliseconds, and its throughputs.

    TTFT, TPOT and E2EL have one value a run, ITL every gap of every run. Throughputs are tokens a second of wall
    time, prompts included in the total one.
    """
    kinds = {
        "ttft": [run.ttft for run in runs],
        "tpot": [run.tpot for run in runs],
        "itl": np.concatenate([run.gaps for run in runs]),
        "e2el": [run.seconds for run in runs],
    }
    found: dict[str, float] = {"completed": sum(run.batch for run in runs)}
    for kind, values in kinds.items():
        milliseconds = 1000 * np.asarray(values, dtype=np.float64)
        found[f"mean_{kind}_ms"] = float(milliseconds.mean())
        found[f"median_{kind}_ms"] = float(np.median(milliseconds))
        found[f"std_{kind}_ms"] = float(milliseconds.std())
        for percentile in VLLM_PERCENTILES:
            found[f"p{percentile}_{kind}_ms"] = float(np.percentile(milliseconds, percentile))
    seconds = sum(run.seconds for run in runs)
    written = sum(run.batch * run.new_tokens for run in runs)
    found["output_throughput"] = written / seconds
    found["total_token_throughput"] = (written + sum(run.batch * run.prompt_tokens for run in runs)) / seconds
    return found
