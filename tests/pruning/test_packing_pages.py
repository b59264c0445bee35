"""Huge pages: what is in them keeps every bit, and where there are none nothing else changes."""

import re
import sys
from pathlib import Path

import pytest
import torch

from pruning.packing import pages
from pruning.packing.format import Format
from pruning.packing.install import pack
from pruning.packing.pages import page_size, use_huge_pages, want_huge_pages

needs_pages = pytest.mark.skipif(not page_size() or page_size() > 8 << 20, reason="no huge pages of a few MiB")


def huge_bytes(tensors: list[torch.Tensor]) -> int:
    """What the mappings that hold these tensors have in huge pages, whoever asked for them."""
    total, held = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if mapping := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
            begin, end = (int(bound, 16) for bound in mapping.groups())
            held = any(begin < tensor.data_ptr() + tensor.nbytes and tensor.data_ptr() < end for tensor in tensors)
        elif held and line.startswith("AnonHugePages"):
            total += int(line.split()[1]) << 10
    return total


@needs_pages
def test_tensors_keep_their_bits_and_move():
    tensors = [torch.randn(3 << 20), torch.randn(1000), torch.randn(2 << 20)]
    copies = [tensor.clone() for tensor in tensors]
    done = use_huge_pages(tensors)
    assert all(torch.equal(*pair) for pair in zip(tensors, copies, strict=True))
    if done:  # the system may refuse
        assert done % page_size() == 0 and huge_bytes(tensors) >= done // 2


@needs_pages
def test_small_tensors_beside_each_other_share_pages(monkeypatch):
    advised = []
    monkeypatch.setattr(pages, "_advise", lambda begin, length, advice: advised.append((begin, length)) or True)
    arena = torch.zeros(6 * page_size(), dtype=torch.uint8)
    parts = list(arena.split(100_000))
    assert use_huge_pages(parts[1:]) == page_size() * len(advised) >= 4 * page_size()
    end = arena.data_ptr() + arena.nbytes
    assert all(arena.data_ptr() <= begin and begin + length <= end for begin, length in advised)


def test_what_the_system_refuses_and_other_systems_cost_nothing(monkeypatch, tiny_model):
    monkeypatch.setattr(pages, "_advise", lambda *_: False)
    assert use_huge_pages([torch.zeros(4 << 20)]) == 0
    monkeypatch.setattr(pages, "page_size", lambda: 0)
    want_huge_pages(torch.zeros(4 << 20))
    assert use_huge_pages([torch.zeros(4 << 20)]) == 0
    model = tiny_model("llama")
    pack(model, Format.parse("auto"))
    assert model.generate(torch.tensor([[5, 9]]), max_new_tokens=2, do_sample=False, pad_token_id=0).shape == (1, 4)


def test_empty_and_tiny_tensors_are_left_alone():
    assert use_huge_pages([torch.zeros(0), torch.zeros(3), torch.empty(8 << 20, device="meta")]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("text", ["", "many"])
def test_a_size_that_cannot_be_read_means_none(monkeypatch, tmp_path, text):
    (tmp_path / "size").write_text(text)
    monkeypatch.setattr(pages, "SIZE", tmp_path / "size")
    page_size.cache_clear()
    try:
        assert page_size() == 0
    finally:
        monkeypatch.undo()
        page_size.cache_clear()
