"""The process of one cell of a sweep: prunes a model, measures it beside the dense one, and writes the results.

`python -m evals.sweeping.cell`, driven by its parent (`evals.sweeping.cell_process`): a line of JSON in, the request; lines of JSON out,
`{"fraction": ..., "message": ...}` as it goes and `{"error": one line or null}` at the end. When its input ends,
because its parent is gone, it ends at once with every process that it started.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from models.console.progress import Progress, part
from models.errors import EspalierError, first_line
from models.storage.disk import full
from models.storage.reading import unopened

OFTEN = 0.2  # seconds between two lines of progress
PRUNING = 0.5  # of the progress


def measure(request: dict, progress: Progress) -> None:
    """Does one cell in the current folder, which holds its inputs.

    The request has `model`, its `fingerprint`, `name` (what the pruned model is called), `pruning` (the fields of
    PruningConfig; None to measure the dense model alone), `check` (whether the saved model is read in a fresh process),
    `identity` (what its pruning.json says that it depends on),
    `evaluation` (arguments of `evaluate_models`) and `out`, the folder of the results. A pruned model of that name that
    a killed process left here is taken.

    Raises RequestError and EspalierError as pruning and measuring do, EspalierError if the model is not that of the
    fingerprint, or this machine has other libraries.
    """
    from evals.asking.fingerprint import fingerprint
    from evals.runs.run import evaluate_models
    from models.source import locate

    model, evaluation = request["model"], request["evaluation"]
    if fingerprint(locate(model), evaluation["dtype"], evaluation["device"]) != request["fingerprint"]:
        raise EspalierError(
            f"{model} is not what it was when the sweep began, or other versions of torch, transformers or tokenizers "
            "are installed where this cell ran: use the same ones everywhere, and leave the model alone meanwhile."
        )
    pruned = request["pruning"] is not None
    if pruned and not Path(request["name"]).is_dir():
        _prune(request, part(progress, 0.0, PRUNING))
    models = [model, request["name"]] if pruned else [model]
    share = part(progress, PRUNING if pruned else 0.0, 1.0)
    evaluate_models(models, out=request["out"], progress=share, **evaluation)


def _prune(request: dict, progress: Progress) -> None:
    from pruning import PruningConfig, Recipe, run
    from pruning.running.session import Machine

    evaluation = request["evaluation"]
    recipe = Recipe(PruningConfig(**request["pruning"]), verify=request["check"])
    machine = Machine(evaluation["device"], evaluation["dtype"])
    run(recipe, request["model"], request["name"], progress, machine=machine, made_of=request["identity"])
    gc.collect()  # the model, before others are loaded


def explained(work: Callable[[], None]) -> str | None:
    """Does work, and says in one line why it failed, if it did."""
    from models.console.out_of_memory import ran_out

    try:
        work()
    except EspalierError as error:
        return " ".join(str(error).split())
    except Exception as error:
        if ran_out(error):
            return "Out of memory: use fewer --workers, a smaller model, fewer --samples or --dtype bfloat16."
        if told := full(error) or unopened(error):
            return str(told)
        return f"{type(error).__name__}: {first_line(error)}"


def main() -> int:
    """Does the cell that its standard input asks for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    # What a library prints must not come between the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    os.chdir(request["workspace"])
    shown = 0.0

    def progress(fraction: float, message: str) -> None:
        nonlocal shown
        if time.monotonic() - shown > OFTEN:
            shown = time.monotonic()
            print(json.dumps({"fraction": fraction, "message": message}), file=replies, flush=True)

    error = explained(lambda: measure(request, progress))
    print(json.dumps({"error": error}), file=replies, flush=True)
    return 0 if error is None else 1


def _end_with_the_parent() -> None:
    while os.read(0, 1 << 10):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
