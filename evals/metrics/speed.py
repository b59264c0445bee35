"""Speed of generation, each model in a process of its own, in turns with the baseline."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from evals import statistics
from evals.cost.latency import vllm_names
from evals.cost.measuring_process import Heartbeat, MeasuringProcess
from evals.cost.memory import zeros_note
from evals.cost.process_race import Setting, disturbance_notes, load_seconds, pairs, time_setting
from evals.cost.rounds import Rounds, Until
from evals.cost.speed import Lane, make_lane, measured, percentiles
from evals.cost.timing import RanOutOfMemory, Run
from evals.environment import load_average
from evals.measurement import Measurement
from evals.registry import metric
from evals.runs.results import Result
from evals.trial import Trial
from models.console.progress import part

PROMPT_TOKENS, NEW_TOKENS = 128, 64
BATCHES, QUICK_BATCHES = (1, 8), (1,)
UNTIL = Until(runs=10, seconds=6.0, warmups=2, retries=4)
QUICK = Until(runs=5, seconds=0.5, warmups=1, retries=2)
LOADS, QUICK_LOADS = 3, 1
QUANTILES = list(range(101))


@metric(models_at_once=2)
def speed(trial: Trial) -> Iterator[Result]:
    """TTFT, TPOT, ITL percentiles, prefill, decode and output rates, load time; runs in turns with the first model's.

    Only the baseline and one contender are in memory at a time, each in a process of its own. With several contenders
    the baseline is timed anew beside each, and every ratio is of one race; the baseline's own rows are of the first.
    Where a contender is sparse, the baseline in our dense layout and the contender packed are timed too, unless the
    option `layouts` is off: the gain of the kernels and that of the zeros are then seen apart.
    """
    pool, beat = trial.pool, Heartbeat(trial.progress)
    context = min(pool.record(name)["context"] for name in pool.names)
    names = pool.layouts() if trial.options.get("layouts", True) else pool.names
    for name in names:
        pool.footprint(name)
    pool.hold()  # the processes need the memory
    sizes = settings(context, trial.quick)
    for name in pool.others:
        note = zeros_note(name, pool.footprint(name))
        trial.notes += [note] if note and note not in trial.notes else []
    beat(0.0, "load times")
    loads: dict[str, list[float]] = {name: [] for name in names}
    for _ in range((QUICK_LOADS if trial.quick else LOADS) - 1):
        for name in names:
            loads[name].append(load_seconds(name, pool.device, pool.dtype, beat.again))
    processes = pairs(names, pool.device, pool.dtype, beat.again)
    races = max(1, len(names) - 1)
    for at, racing in enumerate(processes):
        for process in racing if at == 0 else racing[1:]:
            loads[process.model].append(process.facts["seconds"])
            if slow := process.facts.get("slow_path"):
                trial.notes.append(f"{process.model}: {slow}. Its speed is of the slower path.")
            yield Result(process.model, "speed", _load_time(loads[process.model], process.facts))
        for step, setting in enumerate(sizes):
            done = (at + step / len(sizes)) / races
            share = part(beat, done, done + 1 / len(sizes) / races)
            load_before = load_average()
            try:
                rounds = time_setting(racing, setting, QUICK if trial.quick else UNTIL, share)
            except RanOutOfMemory as error:
                if setting == sizes[0]:
                    raise
                trial.notes.append(f"Speed at {setting} was left out: {error}")
                continue
            trial.notes += disturbance_notes(f"{racing[-1].model}, speed at {setting}", [rounds])
            lanes = _lanes(racing, setting, rounds, load_before, trial.seed)
            for lane in lanes if at == 0 else lanes[1:]:
                yield from _results(lane, setting.suffix(sizes[0]), pool.baseline, trial.seed)
    trial.progress(1.0, "speed")


def settings(context: int, quick: bool) -> list[Setting]:
    """The sizes that are timed, shortened where the context is; the first is the default, a batch of one."""
    new_tokens = max(2, min(NEW_TOKENS, context // 3))
    prompt_tokens = max(1, min(PROMPT_TOKENS, context - new_tokens))
    return [Setting(batch, prompt_tokens, new_tokens) for batch in (QUICK_BATCHES if quick else BATCHES)]


def _lanes(
    racing: list[MeasuringProcess], setting: Setting, rounds: Rounds, load_before: float | None, seed: int
) -> list[Lane]:
    common = {"name": "interleaved, a process each", "batch": setting.batch, "prompt_tokens": setting.prompt_tokens}
    common |= {"new_tokens": setting.new_tokens, "sampling": "greedy"}
    common |= rounds.as_protocol() | {"load_before": load_before, "load_after": load_average()}
    lanes: list[Lane] = []
    for at, process in enumerate(racing):
        facts = {key: process.facts[key] for key in ("dtype", "device", "clock", "threads", "cache")}
        facts |= {"slow_path": slow} if (slow := process.facts.get("slow_path")) else {}
        runs, warmup = rounds.of(at), rounds.warmups[0][at]
        protocol = common | facts | {"details": _details(runs, warmup) | {"clocks": process.ask("clocks")}}
        lanes.append(make_lane(process.model, runs, warmup, protocol, lanes[0] if lanes else None, seed))
    return lanes


def _details(runs: list[Run], warmup: Run) -> dict:
    """The runs themselves: what each took, vLLM's names for their statistics, and the distribution of ITL."""
    gaps = np.concatenate([run.gaps for run in runs])
    return {
        "vllm": vllm_names(runs),
        "ttft_seconds": [run.ttft for run in runs],
        "tpot_seconds": [run.tpot for run in runs],
        "warmup_seconds": {"ttft": warmup.ttft, "end_to_end": warmup.seconds},
        "itl_seconds_by_percent": np.percentile(gaps, QUANTILES).tolist(),
    }


def _results(lane: Lane, suffix: str, baseline: str, seed: int) -> Iterator[Result]:
    details = lane.ttft.protocol["details"]
    told: list[tuple[Measurement, str | None]] = [(measurement, None) for measurement in lane.measurements]
    told += [(measurement, None) for measurement in percentiles(lane.runs, lane.ttft.protocol, seed)]
    told += [(ratio, baseline) for ratio in lane.speedups.values()]
    for measurement, against in told:
        # The runs are told once, with the first of their figures.
        kept = details if measurement.metric == "ttft" else {}
        protocol = {key: value for key, value in measurement.protocol.items() if key != "details"}
        protocol |= {"details": kept} if kept else {}
        named = replace(measurement, metric=f"{measurement.metric}{suffix}", protocol=protocol)
        yield Result(lane.name, "speed", named, against)


def _load_time(seconds: list[float], facts: dict) -> Measurement:
    protocol = {"name": "fresh processes", "runs": len(seconds), "files": "in the page cache"}
    protocol |= {key: facts[key] for key in ("dtype", "device", "threads")}
    return measured("load_time", "s", statistics.median(np.array(seconds)), protocol)
