"""What the command lines share: exit codes, one clear line for an error, a traceback only on request."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from models.console.out_of_memory import ran_out
from models.errors import EspalierError, first_line
from models.storage.disk import full
from models.storage.reading import unopened


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line on stderr, with exit code 2."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Adds the option that every command line has."""
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")


def finish(run: Callable[[], int | None], debug: bool = False) -> int:
    """Runs a command and returns its exit code: 0 done, 2 the request is wrong, 1 it failed while running."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # our lines say what a person must know
    try:
        code = run() or 0
        sys.stdout.flush()  # a full disk is told here, and not by the interpreter as it ends
        return code
    except KeyboardInterrupt:
        return _complain("Interrupted; nothing half-written was left.", 1, debug)
    except EspalierError as error:
        return _complain(str(error), error.exit_code, debug)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        if ran_out(error):
            text = "Out of memory: use a smaller model, fewer --samples or a shorter --sequence-length."
            return _complain(text, 1, debug)
        if failed := full(error):
            return _complain(str(failed), 1, debug)
        if told := unopened(error):
            return _complain(str(told), told.exit_code, debug)
        text = f"{type(error).__name__}: {first_line(error)} (run again with --debug for the traceback)"
        return _complain(text, 1, debug)


def _complain(text: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    clear = "\r\033[K" if sys.stderr.isatty() else ""  # a progress bar may stand on the line
    print(f"{clear}error: {' '.join(text.split())}", file=sys.stderr)
    return code
