"""A cell's process seen from outside: nothing that it started outlives its end."""

import os
import queue
import sys

import pytest

from evals.sweeping.cell_process import CellProcess
from tests.evals.stand_in import gone

LEAVES_A_CHILD = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import signal; signal.pause()"],
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
print('{"error": "%d"}' % child.pid, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_what_a_cell_started_ends_with_it_even_if_the_cell_has_ended_first(tmp_path):
    news: queue.SimpleQueue[str] = queue.SimpleQueue()
    process = CellProcess({}, tmp_path, {}, news.put, ("-c", LEAVES_A_CHILD))
    child = int(news.get(timeout=60))
    assert process.wait(60)
    os.kill(child, 0)  # it lives
    process.close()
    assert gone(child)
