"""A model in a process of its own, measured on command: the parent's end of `evals.cost.runner`.

One process for each model, because what one model leaves behind (an allocator's pools, warm caches, a high-water mark
that never falls) would flatter or burden the next.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evals.cost.timing import RanOutOfMemory, Run
from evals.environment import threads
from models.console.progress import Progress
from models.errors import EspalierError, RequestError

ROOT = Path(__file__).parents[2]
HEARTBEAT = 0.2  # seconds; how long at most a wait goes on before `waiting` is called


def no_news() -> None:
    """A callback for waits that shows nothing."""


class Heartbeat:
    """A progress callback that can be called once more as it was last called: in a wait, so that it can be ended."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._last = (0.0, "starting")

    def __call__(self, fraction: float, message: str) -> None:
        self._last = (fraction, message)
        self._progress(fraction, message)

    def again(self) -> None:
        """The last call once more."""
        self._progress(*self._last)


class MeasuringProcess:
    """Starts the process and loads MODEL in it; `ask` has it measured. A context manager that ends the process.

    `waiting` is called several times a second during every wait; if it raises, the process is ended. Every failure of
    the process, its sudden end too, is raised as one line: RequestError or EspalierError as the process says,
    RanOutOfMemory where a smaller setting may still run.
    """

    def __init__(self, model: str, device: str = "auto", dtype: str = "auto", waiting: Callable[[], None] = no_news):
        self.model = model
        self.facts: dict = {}  # what `load` told
        self._ready = False
        self._waiting = waiting
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  not a pipe, which fills up when nobody reads it
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "evals.cost.runner", model, device, dtype],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        self._replies: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def __enter__(self) -> "MeasuringProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def load(self) -> dict:
        """Waits until the libraries are imported, has the model loaded, and returns what the process tells of it."""
        self.wait_until_ready()
        self.facts = self.ask("load", threads=threads())
        return self.facts

    def wait_until_ready(self) -> None:
        """Waits until the process has imported its libraries, so that another's load is not disturbed by it."""
        if not self._ready:
            self._reply()
            self._ready = True

    def time(self, batch: int, prompt_tokens: int, new_tokens: int, count_cache: bool = False) -> Run:
        """One timed generation."""
        size = {"batch": batch, "prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
        return Run(**self.ask("time", **size, count_cache=count_cache))

    def ask(self, command: str, **arguments: Any) -> Any:
        """Has one command done and returns its result."""
        try:
            print(json.dumps({"command": command} | arguments), file=self._process.stdin, flush=True)
        except OSError:  # it has ended; why is told below
            pass
        return self._reply()

    def close(self) -> None:
        """Ends the process, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # the last line may still wait for a reader that is gone
                stream.close()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._replies.put(line)
        self._replies.put(None)

    def _reply(self) -> Any:
        line = self._next_line()
        if line is None:
            self._replies.put(None)  # for whoever asks again
            raise EspalierError(f"{self.model} could not be measured: {self._last_words()}")
        reply = json.loads(line)
        if "error" not in reply:
            return reply["result"]
        kind = RanOutOfMemory if reply["out_of_memory"] else RequestError if reply["exit_code"] == 2 else EspalierError
        raise kind(f"{self.model} could not be measured: {reply['error']}")

    def _next_line(self) -> str | None:
        while True:
            try:
                return self._replies.get(timeout=HEARTBEAT)
            except queue.Empty:
                self._waiting()

    def _last_words(self) -> str:
        code = self._process.wait()
        if code == -9 or code == 137:
            return "its process was killed, most often for lack of memory: choose a smaller model or --dtype bfloat16."
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        reason = f" ({lines[-1][:300]})" if lines else ""
        return f"its process ended with code {code}{reason}: measure this model alone."
