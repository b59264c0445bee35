"""Counts and bytes against plain sums, and the peak of a fresh process."""

import mmap

import psutil
import pytest
import torch
from torch import nn

from evals.contenders import Contenders
from evals.memory import disk_bytes, measure, packed_bytes, peak
from evals.peak import high_water_mark
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
    assert footprint.bytes_if_packed == packed_bytes(2048, 1024, dtype.itemsize) == 256 + 1024 * dtype.itemsize


def test_a_bitmask_of_a_few_weights_takes_a_whole_byte():
    assert packed_bytes(9, 0, 2) == 2


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
    assert figures.cuda_allocated is None and figures.cuda_reserved is None


def test_the_childs_own_complaint_comes_back_as_one_line(tmp_path):
    with pytest.raises(EspalierError, match="could not be measured: There is no folder") as failure:
        peak(str(tmp_path / "absent"), "cpu")
    assert "\n" not in str(failure.value)


def test_a_peak_measurement_can_be_cancelled(tiny_folder):
    def cancel(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        peak(str(tiny_folder()), "cpu", progress=cancel)


def test_contenders_are_in_memory_only_while_held(tiny_folder):
    names = [str(tiny_folder(seed=seed)) for seed in range(3)]
    contenders = Contenders(names, "cpu", "float32", models_at_once=2)
    first, second = contenders.hold(names[0], names[1])
    (kept,) = contenders.hold(names[0])
    assert kept.model is first.model
    again = contenders.hold(names[0], names[1])[1]
    assert again.model is not second.model
    assert contenders.record(names[2])["parameters"] == contenders.footprint(names[0]).parameters
    assert (contenders.baseline, contenders.others) == (names[0], names[1:])
    record = contenders.record(names[0])
    assert record["id"] == names[0] and record["bytes_on_disk"] > record["bytes_in_memory"] > 0


def test_what_cannot_be_held_together_is_refused_before_loading(tiny_folder, monkeypatch):
    folders = [str(tiny_folder(seed=seed)) for seed in range(2)]
    asked = []
    monkeypatch.setattr("evals.contenders.require", lambda size, device, what: asked.append(size))
    Contenders(folders, "cpu", "float32", models_at_once=1)
    Contenders(folders, "cpu", "float32", models_at_once=2)
    assert asked[1] == 2 * asked[0] > 0


@pytest.mark.parametrize(("names", "line"), [([], "name at least one"), (["a", "a"], "named twice")])
def test_no_model_and_one_twice_are_refused(names, line):
    with pytest.raises(RequestError, match=line):
        Contenders(names)
