"""Weights in huge pages, where Linux has them.

Reading weights from end to end visits each page once, and a processor has to look each page up: with pages of 4 KiB, in
a virtual machine, that takes longer than the reading itself. Pages of 2 MiB are five hundred times fewer. Where the
system does not give them, nothing changes but the speed.
"""

import ctypes
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
WANTED, COLLAPSE = 14, 25  # MADV_HUGEPAGE; MADV_COLLAPSE, since Linux 6.1: now, and whatever the system's default is


def want_huge_pages(tensor: torch.Tensor) -> None:
    """Asks that memory which nobody has written yet be given in huge pages."""
    if (page := page_size()) and tensor.nbytes >= page:
        begin, end = _whole_pages(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes, page)
        _advise(begin, end - begin, WANTED)


def use_huge_pages(tensors: Iterable[torch.Tensor]) -> int:
    """Moves what lies in ordinary pages into huge ones, at about a gigabyte a second; returns the bytes that do then.

    Small tensors lie next to each other and share pages; the first and the last of a row of them stay as they are.
    """
    page, done = page_size(), 0
    if not page:
        return 0
    for begin, end in _rows(tensors, page):
        begin, end = _whole_pages(begin, end, page)
        done += sum(page for at in range(begin, end, page) if _advise(at, page, COLLAPSE))
    return done


@cache
def page_size() -> int:
    """The bytes of a huge page; 0 where there are none."""
    try:
        return int(SIZE.read_text()) if sys.platform == "linux" else 0
    except (OSError, ValueError):
        return 0


def _rows(tensors: Iterable[torch.Tensor], page: int) -> list[list[int]]:
    """The stretches of memory that hold the tensors, joined where less than a page is between."""
    held = [tensor for tensor in tensors if tensor.device.type == "cpu" and tensor.nbytes]
    rows: list[list[int]] = []
    for begin, end in sorted({(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes) for tensor in held}):
        if rows and begin - rows[-1][1] < page:
            rows[-1][1] = max(end, rows[-1][1])
        else:
            rows.append([begin, end])
    return rows


def _whole_pages(begin: int, end: int, page: int) -> tuple[int, int]:
    return -(-begin // page) * page, end // page * page


def _advise(begin: int, length: int, advice: int) -> bool:
    """Whether the system took the advice; it may refuse for any reason, which costs speed and nothing else."""
    return length > 0 and _libc().madvise(begin, length, advice) == 0


@cache
def _libc():
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc
