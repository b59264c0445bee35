"""The process that holds one model and measures it: `python -m evals.cost.runner MODEL DEVICE DTYPE`, driven by its parent.

A line of JSON in, `{"command": NAME, ...arguments}`, a line of JSON out: `{"result": ...}`, or `{"error": one line,
"exit_code": 1 or 2, "out_of_memory": bool}`. The first line out, before any command, says that the libraries are
imported. When its input ends, because the parent closed it or is gone, the process ends at once, in the middle of a
command too. `evals.cost.measuring_process` is the other end.
"""

import gc
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from models.errors import EspalierError, first_line


class Runner:
    """The model under measurement; every public method is a command and returns JSON types."""

    def __init__(self, name: str, device: str, dtype: str):
        self._name, self._device, self._dtype = name, device, dtype
        self._model: Any = None
        self._ids: list[int] = []

    def load(self, threads: int) -> dict:
        """Loads the model, timed, and tells what it is; `threads` is how many one operation may use."""
        import torch
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

        from evals.cost.peak import high_water_mark
        from evals.cost.timing import clock_for
        from evals.text_losses.data import embedded
        from models.description import context_length
        from models.formats.checking import check_folder, load_config
        from models.forward.state import open_state
        from models.loading import load_network, load_tokenizer
        from models.policy import choose_device, choose_dtype
        from models.source import locate
        from models.text.prompts import prompt_ids
        from pruning.packing.fast_path import slow_path

        torch.set_num_threads(threads)
        target = choose_device(self._device)
        precision = choose_dtype(target, self._dtype)
        source = locate(self._name)
        check_folder(source)
        # The code of the family and the CUDA context are the libraries', not the model's.
        MODEL_FOR_CAUSAL_LM_MAPPING.get(type(load_config(source)), None)
        torch.zeros(1, device=target)
        libraries = high_water_mark()[0]
        began = time.perf_counter()
        self._model = load_network(source, target, precision, as_stored=self._dtype == "auto")
        if target.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        slow = slow_path(self._model)
        self._ids = prompt_ids(load_tokenizer(source), embedded().content)
        return {
            "seconds": seconds,
            "libraries": libraries,
            "context": context_length(self._model.config.get_text_config()),
            "device": target.type,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "clock": clock_for(target).name,
            "cache": open_state(self._model).name,
            "slow_path": slow,
        }

    def time(self, batch: int, prompt_tokens: int, new_tokens: int, count_cache: bool = False) -> dict:
        """One timed generation, the fields of `evals.cost.timing.Run`."""
        from evals.cost.timing import prompt_batch, time_generation

        prompts = prompt_batch(self._ids, batch, prompt_tokens).to(next(self._model.parameters()).device)
        return asdict(time_generation(self._model, prompts, new_tokens, count_cache=count_cache))

    def marks(self) -> dict:
        """What this process has held in memory (`evals.cost.peak.marks`)."""
        from evals.cost.peak import marks

        return marks()

    def kv_cache(self) -> dict:
        """What a token adds to the cache, the fields of `evals.cost.kv_cache.KvCache`."""
        from evals.cost.kv_cache import measure_cache

        return asdict(measure_cache(self._model, self._ids))

    def sparse(self) -> dict:
        """Bytes of the weights in sparse formats, the fields of `evals.cost.sparse_storage.SparseBytes`."""
        from evals.cost.sparse_storage import sparse_bytes

        return asdict(sparse_bytes(self._model))

    def clocks(self) -> dict:
        """The clocks of the processors now (`evals.environment.clocks`)."""
        from evals.environment import clocks

        return clocks()

    def answer(self, request: dict) -> dict:
        """The reply to one line of the parent."""
        reply = self._answer(request)
        if reply.get("out_of_memory"):
            _release()
        return reply

    def _answer(self, request: dict) -> dict:
        from evals.cost.timing import RanOutOfMemory
        from models.console.out_of_memory import ran_out

        try:
            command: Callable[..., Any] = getattr(self, request.pop("command"))
            return {"result": command(**request)}
        except EspalierError as error:
            lacking = isinstance(error, RanOutOfMemory)
            return {"error": str(error), "exit_code": error.exit_code, "out_of_memory": lacking}
        except Exception as error:
            if ran_out(error):
                text = "Out of memory: choose a smaller model or --dtype bfloat16, or close other programs."
                return {"error": text, "exit_code": 1, "out_of_memory": True}
            return {"error": f"{type(error).__name__}: {first_line(error)}", "exit_code": 1, "out_of_memory": False}


def _release() -> None:
    """Gives back what a size that did not fit has taken, once its error no longer holds it."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def main() -> int:
    """Serves the commands on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    # What a library prints must not come between the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    from evals.cost import timing  # noqa: F401  torch and transformers, so that no command pays for them

    runner = Runner(*sys.argv[1:])
    reply: dict = {"result": "ready"}
    while True:
        print(json.dumps(reply), file=replies, flush=True)
        reply = runner.answer(json.loads(requests.get()))


def _listen(requests: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
