"""Counts and bytes against plain sums, the peak of a fresh process, and the figures that the metric makes of them."""

import mmap
import os
import sys
import types
import zlib
from dataclasses import asdict, replace

import psutil
import pytest
import torch
from torch import nn

from evals.cost import compression, gpu
from evals.cost.kv_cache import measure_cache
from evals.cost.memory import Peak, disk_bytes, measure, peak, peak_lengths, zeros_note
from evals.cost.peak import high_water_mark, marks
from evals.cost.sparse_storage import bitmask_bytes, sparse_bytes
from evals.metrics import memory as metric
from evals.model_pool import ModelPool
from evals.trial import Trial
from models.errors import Cancelled, EspalierError, RequestError


def test_counts_and_bytes_of_a_dense_model(tiny_model, tiny_folder):
    model, folder = tiny_model(), tiny_folder()
    footprint = measure(model, folder)
    assert footprint.parameters == sum(p.numel() for p in model.parameters())
    assert footprint.nonzero_parameters == footprint.parameters
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert footprint.bytes_in_memory == 4 * footprint.parameters + buffers
    assert footprint.bytes_if_packed == footprint.bytes_in_memory  # a bitmask would only add to it
    assert footprint.bytes_on_disk == (folder / "model.safetensors").stat().st_size
    assert measure(model).bytes_on_disk is None


def test_tied_weights_count_once(tiny_model):
    tied, untied = (measure(tiny_model(tie_word_embeddings=tie)) for tie in (True, False))
    assert untied.parameters - tied.parameters == 320 * 32
    assert untied.bytes_in_memory - tied.bytes_in_memory == 320 * 32 * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeros_save_nothing_until_they_are_packed(dtype):
    layer = nn.Linear(64, 32, bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.fill_(1)[:, ::2] = 0
    footprint = measure(layer)
    assert (footprint.parameters, footprint.nonzero_parameters) == (2048, 1024)
    assert footprint.bytes_in_memory == 2048 * dtype.itemsize
    assert footprint.bytes_if_packed == bitmask_bytes(2048, 1024, dtype.itemsize) == 256 + 1024 * dtype.itemsize


def test_the_disk_figure_adds_shards_and_nothing_else(tiny_model, tmp_path):
    tiny_model().save_pretrained(tmp_path, max_shard_size="60KB")
    shards = list(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert disk_bytes(tmp_path) == sum(shard.stat().st_size for shard in shards)


def test_the_high_water_mark_keeps_what_was_given_back():
    before = psutil.Process().memory_info().rss
    with mmap.mmap(-1, 64 << 20) as block:  # not a tensor, whose memory an allocator may keep for itself
        block.write(bytes(len(block)))
        mark = high_water_mark()[0]
    assert mark > before + (60 << 20)  # the kernel's own count is out by some pages
    assert high_water_mark()[0] > mark - (4 << 20)


def test_the_peak_of_a_fresh_process_holds_its_model_and_nothing_of_this_process(tiny_folder):
    folder = tiny_folder(intermediate_size=200_000)  # 220 MiB of weights
    ballast = torch.ones(256 << 20)  # 1 GiB that must not show in the child
    figures = peak(str(folder), "cpu", "float32")
    del ballast
    assert 0 < figures.libraries < figures.resident < 1 << 30
    assert figures.resident - figures.libraries > 200 << 20
    assert figures.resident >= figures.uss > 200 << 20 and figures.pss >= figures.uss
    assert (figures.cuda_allocated, figures.cuda_reserved, figures.vram) == (None, None, None)


def test_the_childs_own_complaint_comes_back_as_one_line(tmp_path):
    with pytest.raises(EspalierError, match="absent could not be measured: There is no folder") as failure:
        peak(str(tmp_path / "absent"), "cpu")
    assert "\n" not in str(failure.value)


def test_a_peak_measurement_can_be_cancelled(tiny_folder):
    def cancel(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        peak(str(tiny_folder()), "cpu", progress=cancel)


@pytest.mark.parametrize(("context", "lengths"), [(2048, (64, 32)), (80, (48, 32)), (10, (5, 5)), (2, (1, 1))])
def test_the_generation_of_a_peak_fits_the_context(context, lengths):
    assert peak_lengths(context) == lengths


def test_marks_of_a_gpu_are_its_allocators_and_its_drivers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 8)
    monkeypatch.setattr(gpu, "process_vram", lambda: (600, "NVML"))
    found = marks()
    assert (found["cuda_allocated"], found["cuda_reserved"], found["vram"], found["vram_source"]) == (5, 8, 600, "NVML")
    monkeypatch.setattr(gpu, "process_vram", lambda: None)
    assert marks()["vram"] is None and marks()["cuda_allocated"] == 5


class FakeNvml(types.ModuleType):
    """A driver whose card holds some processes."""

    NVML_CLOCK_SM = 1
    NVMLError = ZeroDivisionError
    processes: dict[int, int] = {}
    asked: list[str] = []

    def nvmlInit(self):
        pass

    nvmlShutdown = nvmlInit

    def nvmlDeviceGetHandleByUUID(self, identity):
        self.asked.append(identity)
        return "card"

    def nvmlDeviceGetClockInfo(self, card, clock):
        return 1980

    def nvmlDeviceGetComputeRunningProcesses(self, card):
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.processes.items()]


@pytest.fixture
def nvml(monkeypatch):
    fake = FakeNvml("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda at: types.SimpleNamespace(uuid="beef"))
    return fake


@pytest.mark.parametrize(
    ("processes", "found"),
    [
        ({os.getpid(): 600, 1: 9}, (600, "NVML")),
        ({1: 700}, (700, "NVML, the only process on the card")),  # a container, where it has another number
        ({1: 700, 2: 800}, None),
        ({1: None}, None),
    ],
)
def test_the_driver_is_asked_for_this_process(nvml, processes, found):
    nvml.processes = processes
    assert gpu.process_vram() == found
    assert gpu.clock_mhz() == 1980 and set(nvml.asked) == {"GPU-beef"}


def test_a_driver_that_does_not_answer_is_no_figure(nvml, monkeypatch):
    monkeypatch.setattr(nvml, "nvmlDeviceGetHandleByUUID", lambda identity: 1 / 0)
    assert gpu.process_vram() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert gpu.clock_mhz() is None


CPU_PEAK = Peak(400, 300, "VmHWM", 250, 280, None, None, None, None)
GPU_PEAK = Peak(400, 300, "VmHWM", 250, 280, 50, 80, 500, "NVML")


class FakeProcess:
    """The answers of a measuring process, without one."""

    def __init__(self, model):
        self.facts = {"context": 128, "dtype": "float32"}
        cache = measure_cache(model, list(range(99)))
        self._answers = {"sparse": asdict(sparse_bytes(model)), "kv_cache": asdict(cache)}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def load(self):
        return self.facts

    def ask(self, command):
        return self._answers[command]


@pytest.fixture
def measured(tiny_folder, tiny_model, monkeypatch):
    """The memory metric on a tiny folder with peaks that are set: `measured(*peaks) -> (results by name, notes)`."""
    folder = str(tiny_folder())
    monkeypatch.setattr(metric, "MeasuringProcess", lambda *_: FakeProcess(tiny_model()))

    def run(*peaks, quick=False):
        left = iter(peaks)
        monkeypatch.setattr(metric, "take_peak", lambda process: next(left))
        trial = Trial(ModelPool([folder], "cpu", "float32"), None, quick, 0, lambda *_: None)
        results = {result.measurement.metric: result.measurement for result in metric.memory(trial)}
        return results, trial.notes

    return run


def test_the_metric_tells_all_six_kinds(measured):
    results, notes = measured(GPU_PEAK, quick=True)
    assert results["parameters"].value * 4 <= results["bytes_in_memory"].value
    assert results["bytes_if_csr"].value == results["bytes_if_2_of_4"].value == results["bytes_in_memory"].value
    assert 0 < results["bytes_on_disk_compressed"].value < results["bytes_on_disk"].value
    assert results["kv_cache_bytes_per_token"].value == 2 * 3 * 2 * 8 * 4
    told = {name: results[name].value for name in metric.KINDS.values()}
    assert told == {
        "peak_resident": 400, "process_uss": 250, "process_pss": 280, "peak_cuda_allocated": 50,
        "peak_cuda_reserved": 80, "process_vram": 500,
    }  # fmt: skip
    assert all(results[name].protocol["definition"] for name in metric.KINDS.values())
    assert notes == []


def test_peaks_of_several_processes_have_an_interval(measured):
    peaks = [replace(CPU_PEAK, resident=size) for size in (400, 410, 420)]
    results, _ = measured(*peaks)
    found = results["peak_resident"]
    assert (found.value, found.n) == (410, 3) and found.interval[0] < 410 < found.interval[1]
    assert "peak_cuda_allocated" not in results and "process_vram" not in results


def test_a_driver_that_tells_nothing_and_a_fallback_are_noted(measured, monkeypatch):
    monkeypatch.setattr(compression, "_compressor", lambda: ("zlib 6", zlib.compressobj(6)))
    results, notes = measured(replace(GPU_PEAK, vram=None), quick=True)
    assert "process_vram" not in results and any("driver did not tell" in note for note in notes)
    assert any("zlib" in note for note in notes)
    assert results["bytes_on_disk_compressed"].protocol["compressor"] == "zlib 6"


def test_zeros_that_save_nothing_are_told():
    layer = nn.Linear(64, 32, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1)[:, ::2] = 0
    note = zeros_note("thin", measure(layer))
    assert note.startswith("thin: 50.0 % of its parameters are zeros") and note.endswith("would take 4.25 KiB.")
    assert zeros_note("dense", measure(nn.Linear(8, 8))) is None


def test_contenders_are_in_memory_only_while_held_where_memory_is_scarce(tiny_folder, monkeypatch):
    monkeypatch.setattr("evals.model_pool.SPARE", 0.0)
    names = [str(tiny_folder(seed=seed)) for seed in range(3)]
    pool = ModelPool(names, "cpu", "float32", models_at_once=2)
    first, second = pool.hold(names[0], names[1])
    (kept,) = pool.hold(names[0])
    assert kept.model is first.model
    again = pool.hold(names[0], names[1])[1]
    assert again.model is not second.model
    assert pool.record(names[2])["parameters"] == pool.footprint(names[0]).parameters
    assert (pool.baseline, pool.others) == (names[0], names[1:])
    record = pool.record(names[0])
    assert record["id"] == names[0] and record["bytes_on_disk"] > record["bytes_in_memory"] > 0


def test_what_cannot_be_held_together_is_refused_before_loading(tiny_folder, monkeypatch):
    folders = [str(tiny_folder(seed=seed)) for seed in range(2)]
    asked = []
    monkeypatch.setattr("evals.model_pool.require", lambda size, device, what: asked.append(size))
    ModelPool(folders, "cpu", "float32", models_at_once=1)
    ModelPool(folders, "cpu", "float32", models_at_once=2)
    assert asked[1] == 2 * asked[0] > 0


@pytest.mark.parametrize(("names", "line"), [([], "name at least one"), (["a", "a"], "named twice")])
def test_no_model_and_one_twice_are_refused(names, line):
    with pytest.raises(RequestError, match=line):
        ModelPool(names)
