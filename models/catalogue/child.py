"""A child process that is watched while it works, and ended if whoever watches raises."""

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence

POLL = 0.2  # seconds


def watch(
    command: Sequence[str], looking: Callable[[], None], environment: Mapping[str, str] | None = None
) -> str | None:
    """Runs a command to its end; None if it succeeded, else its last words (the end of what it printed).

    `looking` is called several times a second; what it raises ends the process and is passed on.
    """
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while True:
                try:
                    code = process.wait(POLL)
                    break
                except subprocess.TimeoutExpired:
                    looking()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code == 0:
            return None
        printed.seek(0)
        return printed.read().decode(errors="replace").strip()
