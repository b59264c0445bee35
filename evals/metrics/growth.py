"""Growth of cost with context length, batch size and output length, each model in a process of its own."""

from collections.abc import Iterator

from evals import statistics
from evals.cost.growth import LAWS, Law, Point, Sweep, fit, fit_difference, point, sweeps
from evals.cost.measuring_process import Heartbeat, MeasuringProcess
from evals.cost.process_race import Setting, disturbance_notes, pairs, time_setting
from evals.cost.rounds import Rounds, Until
from evals.cost.timing import RanOutOfMemory
from evals.measurement import Measurement
from evals.registry import metric
from evals.runs.results import Result
from evals.trial import Trial
from models.console.progress import Progress, format_seconds, part

UNTIL, QUICK = Until(runs=5, seconds=0.5, retries=2), Until(runs=3, seconds=0.2)
MOST_SECONDS, QUICK_MOST_SECONDS = 30.0, 2.0  # of one run: a sweep ends before its next size would take longer


@metric(models_at_once=2)
def growth(trial: Trial) -> Iterator[Result]:
    """Exponents of time and cache over context length, batch size and output length, by sweeps of each.

    Only the baseline and one contender are in memory at a time, each in a process of its own, and are timed in turns
    at every size. The baseline's own rows are those beside the first contender.
    """
    pool, beat = trial.pool, Heartbeat(trial.progress)
    context = min(pool.record(name)["context"] for name in pool.names)
    pool.hold()  # the processes need the memory
    plan = sweeps(context, trial.quick)
    processes = pairs(pool.names, pool.device, pool.dtype, beat.again)
    races = max(1, len(pool.others))
    beat(0.0, "growth")
    for at, racing in enumerate(processes):
        for step, sweep in enumerate(plan):
            done = (at + step / len(plan)) / races
            rounds = _sweep(trial, racing, sweep, part(beat, done, done + 1 / len(plan) / races))
            trial.notes += disturbance_notes(f"{racing[-1].model}, growth with {sweep.what}", rounds.values())
            if len(rounds) < 2:
                trial.notes.append(f"{racing[-1].model}: too few sizes to tell how cost grows with {sweep.what}.")
                continue
            for law in LAWS:
                if law.sweep == sweep.name:
                    yield from _results(law, sweep, racing, rounds, at == 0, trial.seed)
    trial.progress(1.0, "growth")


def _sweep(trial: Trial, racing: list[MeasuringProcess], sweep: Sweep, progress: Progress) -> dict[Setting, Rounds]:
    """The rounds of every size that fits the memory and the time; a note says where a sweep ended early."""
    most = QUICK_MOST_SECONDS if trial.quick else MOST_SECONDS
    what = f"{racing[-1].model}, growth with {sweep.what}"
    measured: dict[Setting, Rounds] = {}
    seconds: list[float] = []
    for at, setting in enumerate(sweep.settings):
        if len(seconds) > 1 and (ahead := seconds[-1] * max(1.0, seconds[-1] / seconds[-2])) > most:
            long = format_seconds(ahead)
            trial.notes.append(f"{what}: ended before {setting}, where one run would take about {long}.")
            break
        share = part(progress, at / len(sweep.settings), (at + 1) / len(sweep.settings))
        try:
            rounds = time_setting(racing, setting, QUICK if trial.quick else UNTIL, share, count_cache=True)
        except RanOutOfMemory:
            trial.notes.append(f"{what}: ended before {setting}, for which the memory did not suffice.")
            break
        measured[setting] = rounds
        seconds.append(max(min(run.seconds for run in rounds.of(lane)) for lane in range(len(racing))))
    return measured


def _results(
    law: Law, sweep: Sweep, racing: list[MeasuringProcess], rounds: dict[Setting, Rounds], first: bool, seed: int
) -> Iterator[Result]:
    points: list[list[Point]] = []
    for at, process in enumerate(racing):
        points.append([point(law, each, at, seed) for each in rounds.values()])
        protocol = _protocol(law, sweep, process, rounds)
        exponent = fit(points[-1])
        if first or at:
            details = {"points": [each.as_dict() for each in points[-1]]}
            yield Result(process.model, "growth", _measured(law.metric, exponent, protocol | {"details": details}))
        if at:
            difference = fit_difference(points[0], points[-1])
            measurement = _measured(f"{law.metric}_difference", difference, protocol)
            yield Result(process.model, "growth", measurement, racing[0].model)


def _measured(metric: str, estimate: statistics.Estimate, protocol: dict) -> Measurement:
    return Measurement(metric, estimate.value, "", estimate.interval, estimate.stderr, estimate.n, protocol)


def _protocol(law: Law, sweep: Sweep, process: MeasuringProcess, rounds: dict[Setting, Rounds]) -> dict:
    sizes = [setting for setting in sweep.settings if setting in rounds]
    fixed = {
        "batch": {setting.batch for setting in sizes},
        "prompt_tokens": {setting.prompt_tokens for setting in sizes},
        "new_tokens": {setting.new_tokens for setting in sizes},
    }
    varied = {key: found.pop() if len(found) == 1 else f"{min(found)} to {max(found)}" for key, found in fixed.items()}
    facts = {key: process.facts[key] for key in ("dtype", "device", "clock", "threads")}
    facts |= {"slow_path": slow} if (slow := process.facts.get("slow_path")) else {}
    definition = f"exponent of {law.y} over {law.x}, least squares on logarithms"
    name = {"name": "sweep, interleaved, a process each", "x": law.x, "y": law.y, "definition": definition}
    return name | varied | facts
