"""Memory of six kinds: weights as they are and as they would be packed, files, GPU, process, and key-value cache."""

from collections.abc import Iterator
from dataclasses import asdict

from evals import statistics
from evals.cost.compression import Compressed, compressed_bytes
from evals.cost.kv_cache import KvCache
from evals.cost.measuring_process import Heartbeat, MeasuringProcess
from evals.cost.memory import Footprint, Peak, peak_lengths, take_peak, zeros_note
from evals.cost.sparse_storage import SparseBytes
from evals.measurement import Measurement
from evals.registry import metric
from evals.runs.results import Result
from evals.trial import Trial
from models.console.progress import Progress, part
from models.storage.weights import weight_files

RUNS, QUICK_RUNS = 3, 1
# The kinds of a peak, under the metric's name; those that are not peaks are the state after the generation.
KINDS = {
    "resident": "peak_resident",
    "uss": "process_uss",
    "pss": "process_pss",
    "cuda_allocated": "peak_cuda_allocated",
    "cuda_reserved": "peak_cuda_reserved",
    "vram": "process_vram",
}
DEFINITIONS = {
    "peak_resident": "most resident memory of the process, libraries and mapped weight files included",
    "process_uss": "memory that only this process uses, after the generation",
    "process_pss": "USS and this process's share of the pages that several use, after the generation",
    "peak_cuda_allocated": "most bytes that torch's CUDA allocator gave out",
    "peak_cuda_reserved": "most bytes that torch's CUDA allocator held",
    "process_vram": "GPU memory of the process as the driver counts it, CUDA context included, after the generation",
}


@metric()
def memory(trial: Trial) -> Iterator[Result]:
    """Parameters, bytes in memory, packed and on disk, peak memory in a fresh process, and bytes of cache per token."""
    pool = trial.pool
    for name in pool.names:
        yield from (Result(name, "memory", count) for count in _counts(pool.footprint(name)))
        note = zeros_note(name, pool.footprint(name))
        trial.notes += [note] if note and note not in trial.notes else []
    pool.hold()
    beat = Heartbeat(trial.progress)
    for at, name in enumerate(pool.names):
        share = part(beat, at / len(pool.names), (at + 1) / len(pool.names))
        compressed = compressed_bytes(weight_files(pool.folder(name), name), part(share, 0.0, 0.2))
        if compressed.compressor.startswith("zlib") and name == pool.baseline:
            trial.notes.append("Files were compressed with zlib: `pip install zstandard` for the usual bound by zstd.")
        measurements = [_on_disk(compressed), *_in_processes(trial, name, part(share, 0.2, 1.0), beat)]
        yield from (Result(name, "memory", measurement) for measurement in measurements)
    trial.progress(1.0, "memory")


def _in_processes(trial: Trial, name: str, progress: Progress, beat: Heartbeat) -> list[Measurement]:
    """The figures that need a process of their own; the peak is read first, before other work can raise it."""
    pool, runs = trial.pool, QUICK_RUNS if trial.quick else RUNS
    peaks: list[Peak] = []
    others: list[Measurement] = []
    for turn in range(runs):
        progress(turn / runs, f"{name}: memory of a process of its own")
        with MeasuringProcess(name, pool.device, pool.dtype, beat.again) as process:
            process.load()
            peaks.append(take_peak(process))
            if turn == 0:
                others += _sparse(SparseBytes(**process.ask("sparse")))
                others += _cache(KvCache(**process.ask("kv_cache")), process.facts)
            context = process.facts["context"]
    if peaks[0].cuda_allocated is not None and peaks[0].vram is None:
        trial.notes.append(
            f"{name}: the driver did not tell how much GPU memory the process takes in all "
            "(`pip install nvidia-ml-py`; in a container the driver may not know its processes)."
        )
    return _peaks(peaks, context) + others


def _counts(footprint: Footprint) -> list[Measurement]:
    return [
        Measurement(metric, value, "bytes" if metric.startswith("bytes") else "count", protocol={"name": "exact"})
        for metric, value in asdict(footprint).items()
    ]


def _on_disk(found: Compressed) -> Measurement:
    protocol = {"name": "exact", "compressor": found.compressor, "definition": "the weight files, compressed"}
    return Measurement("bytes_on_disk_compressed", found.bytes, "bytes", protocol=protocol)


def _sparse(found: SparseBytes) -> list[Measurement]:
    """What the weights would take as CSR and, where a tensor allows it, as 2:4 (the bitmask is among the counts)."""
    fitting = {"matrices": found.matrices, "fitting": found.fitting}
    csr = {"name": "exact", "definition": "a forecast: compressed sparse rows, indices of 4 bytes"}
    two_of_four = {"name": "exact", "definition": "a forecast: 2:4 where no four weights in a row hold more than two"}
    return [
        Measurement("bytes_if_csr", found.csr, "bytes", protocol=csr),
        Measurement("bytes_if_2_of_4", found.two_of_four, "bytes", protocol=two_of_four | {"details": fitting}),
    ]


def _cache(found: KvCache, facts: dict) -> list[Measurement]:
    protocol = {"name": "exact", "cache": found.name, "dtype": facts["dtype"]}
    details = {"tokens": found.tokens, "layers": found.layers, "constant_bytes": found.constant, "window": found.window}
    kinds = {"": found.bytes_per_token, "_beyond_window": found.beyond_window}
    return [
        Measurement(f"kv_cache_bytes_per_token{kind}", value, "bytes", protocol=protocol | {"details": details})
        for kind, value in kinds.items()
        if value is not None
    ]


def _peaks(peaks: list[Peak], context: int) -> list[Measurement]:
    prompt_tokens, new_tokens = peak_lengths(context)
    common = {"name": "fresh process", "runs": len(peaks), "prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    measurements = []
    for kind, name in KINDS.items():
        values = [getattr(peak, kind) for peak in peaks]
        if None in values:
            continue
        protocol = common | {"definition": DEFINITIONS[name]}
        if kind == "resident":
            protocol |= {"source": peaks[0].source, "libraries_bytes": peaks[0].libraries}
        if kind == "vram":
            protocol |= {"source": peaks[0].vram_source}
        value, stderr, interval, n = statistics.mean(values)
        measurements.append(Measurement(name, value, "bytes", interval, stderr, n, protocol))
    return measurements
