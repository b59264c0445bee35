"""A cell's process, seen from outside. Only the standard library is imported: Ray carries this to other machines."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PROGRAM = ("-m", "evals.sweeping.cell")
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


class CellProcess:
    """Starts the process with its request (see `evals.sweeping.cell`).

    `root` is the folder that holds the packages, `environment` what is set beside this process's own. When it ends
    `ended` is called, in another thread, with one line that says why it failed, or None. `fraction` is how far it is.
    """

    def __init__(
        self,
        request: dict,
        root: Path,
        environment: Mapping[str, str],
        ended: Callable[[str | None], None],
        program: Sequence[str] = PROGRAM,
    ):
        self.fraction = 0.0
        self._ended = ended
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  not a pipe, which fills up when nobody reads it
        self._process = subprocess.Popen(
            [sys.executable, *program],
            cwd=root,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # so that it can be ended with all that it started, and Ctrl-C is not its own
        )
        with contextlib.suppress(OSError):  # it has ended; why is told below
            # Its input stays open: the process ends when that does, because this one was killed.
            print(json.dumps(request), file=self._process.stdin, flush=True)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The process's number, which is that of its group too."""
        return self._process.pid

    def wait(self, patience: float) -> bool:
        """Whether it has ended, after at most `patience` seconds."""
        self._listener.join(patience)
        return not self._listener.is_alive()

    def close(self) -> None:
        """Ends the process and all that it started, and waits until it has told so."""
        # Without a look at the process itself: what it started may outlive it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._listener.join()

    def _listen(self) -> None:
        last: dict = {}
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # a line that was cut off with the process
                last = json.loads(line)
                self.fraction = last.get("fraction", self.fraction)
        code = self._process.wait()
        error = last["error"] if "error" in last else self._last_words(code)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close()
        self._ended(error)

    def _last_words(self, code: int) -> str:
        if code in KILLED:
            return "its process was killed, most often for lack of memory"
        if code < 0:
            return f"its process crashed ({signal.Signals(-code).name})"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with code {code}{f' ({lines[-1][:300]})' if lines else ''}"
