"""Memory: counts, bytes in memory and on disk, and the peak of a fresh process."""

from collections.abc import Iterator
from dataclasses import asdict

from evals import statistics
from evals.measurement import Measurement
from evals.memory import Footprint, Peak, peak
from evals.registry import metric
from evals.results import Result
from evals.trial import Trial
from models.progress import part
from models.units import format_bytes, format_percent

RUNS, QUICK_RUNS = 3, 1


@metric()
def memory(trial: Trial) -> Iterator[Result]:
    """Parameters, non-zero parameters, bytes in memory and on disk, and peak memory in a fresh process."""
    contenders = trial.contenders
    for name in contenders.names:
        yield from (Result(name, "memory", count) for count in _counts(contenders.footprint(name)))
        _note_zeros(trial, name)
    contenders.hold()
    runs = QUICK_RUNS if trial.quick else RUNS
    steps = len(contenders.names) * runs
    for at, name in enumerate(contenders.names):
        peaks = []
        for turn in range(runs):
            done = (at * runs + turn) / steps
            trial.progress(done, f"{name}: peak memory")
            share = part(trial.progress, done, done + 1 / steps)
            peaks.append(peak(name, contenders.device, contenders.dtype, share))
        yield from (Result(name, "memory", measurement) for measurement in _peaks(peaks))
    trial.progress(1.0, "memory")


def _counts(footprint: Footprint) -> list[Measurement]:
    return [
        Measurement(metric, value, "bytes" if metric.startswith("bytes") else "count", protocol={"name": "exact"})
        for metric, value in asdict(footprint).items()
    ]


def _peaks(peaks: list[Peak]) -> list[Measurement]:
    measurements = []
    for kind in ("resident", "cuda_allocated", "cuda_reserved"):
        values = [getattr(peak, kind) for peak in peaks]
        if None in values:
            continue
        protocol = {"name": "fresh process", "runs": len(peaks)}
        if kind == "resident":
            protocol |= {"source": peaks[0].source, "libraries_bytes": peaks[0].libraries}
        value, stderr, interval, n = statistics.mean(values)
        measurements.append(Measurement(f"peak_{kind}", value, "bytes", interval, stderr, n, protocol))
    return measurements


def _note_zeros(trial: Trial, name: str) -> None:
    footprint = trial.contenders.footprint(name)
    zeros = 1 - footprint.nonzero_parameters / footprint.parameters
    if zeros >= 0.01:
        trial.notes.append(
            f"{name}: {format_percent(zeros)} of its parameters are zeros, stored densely, which save neither "
            "memory nor time as they are; packed as a bitmask the weights would take "
            f"{format_bytes(footprint.bytes_if_packed)}."
        )
