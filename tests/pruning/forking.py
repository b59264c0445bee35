"""What a forked process finds, for the tests of packing."""

import gc
import os
from collections.abc import Callable

import pytest
import torch

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def holds_in_a_fork(check: Callable[[], bool]) -> bool:
    """Whether `check()` is true in a forked process, which has one thread, as torch's own data loading workers have."""
    gc.collect()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # a pool of threads is not forked
        os._exit(0 if check() else 3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
