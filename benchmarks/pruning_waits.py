"""What a visitor waits for: each method on a real model with the page's settings, and the slider that prunes live.

    python benchmarks/pruning_waits.py [--model smollm2] [--only wanda slider ...] [--threads N]

Of each method: the seconds of `pruning.prune` and of the processor (which others on the machine disturb less), the same
in forward passes of the calibration text through all blocks (by the processor's seconds, timed in the same process just
before), and where the time goes: forward passes, statistics of inputs (Gram matrices
and norms), solving, gradients, the check of the dense model, and the rest. Beside it the perplexity on the page's small
text, so that a faster method that does worse shows.

slider: the seconds from a new position to a pruned model, by method and pattern, medians over positions, once the
dense model's statistics are there; and the seconds to take those the first time, and to read them from disk.

With --only the other results stay as they are stored. Stores benchmarks/results/pruning_waits/results.json.
"""

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals.environment import environment
from evals.text_losses.perplexity import score, summarise
from evals.texts import prose
from models import Loaded, load
from models.storage.files import read_json, write_json
from pruning import PruningConfig, pipeline, prune
from pruning.calibrating.windows import calibration_windows
from pruning.collect import gradients, statistics
from pruning.collect.blockwise import BlockWalk
from pruning.live.input_norms import norms_of
from pruning.live.twin import LiveTwin
from pruning.structures import none
from ui.engine import Settings
from ui.figures import LONGEST, WINDOWS
from ui.local_engine import calibration_sizes

OUT = Path(__file__).parent / "results" / "pruning_waits"
METHODS: dict[str, dict] = {
    "magnitude": {"method": "magnitude"},
    "wanda": {"method": "wanda"},
    # As the page does it where a solver changes the weights.
    "sparsegpt": {"method": "obs", "solver": "sparsegpt", "match": "dense"},
    "exchange": {"method": "obs", "solver": "exchange", "match": "dense"},
    "fisher + exchange": {"method": "fisher", "solver": "exchange", "match": "dense"},
}
SLIDER = "slider"
POSITIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
MOVES = [(method, pattern) for method in ("magnitude", "wanda", "ria") for pattern in ("unstructured", "2:4", "4:8")]


class Clock:
    """Adds up the seconds spent inside watched functions, each moment under the innermost one's name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._names = ["other"]
        self._since = time.perf_counter()

    def turn(self) -> None:
        """Books the time since the last turn."""
        now = time.perf_counter()
        self.seconds[self._names[-1]] += now - self._since
        self._since = now

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches what takes the time in a pruning."""
        watched = [
            (BlockWalk, "_pass", "forward"),
            (statistics.Gram, "add", "statistics"),
            (statistics.ColumnNorms, "add", "statistics"),
            (none, "solve", "solve"),
            (none, "relative_error", "solve"),
            (gradients.GradientWalk, "forward", "gradients"),
            (gradients.GradientWalk, "backward", "gradients"),
            (pipeline, "dense_perplexity", "check"),
        ]
        own = [getattr(owner, name) for owner, name, _ in watched]
        for (owner, name, label), function in zip(watched, own, strict=True):
            setattr(owner, name, self._watched(function, label))
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self.turn()
            for (owner, name, _), function in zip(watched, own, strict=True):
                setattr(owner, name, function)

    def _watched(self, function: Callable, label: str) -> Callable:
        def call(*args, **kwargs):
            if self._names[-1] in ("gradients", "check"):  # whole, with the passes inside
                return function(*args, **kwargs)
            self.turn()
            self._names.append(label)
            try:
                return function(*args, **kwargs)
            finally:
                self.turn()
                self._names.pop()

        return call


def small_text(loaded: Loaded) -> float:
    """The perplexity that the page shows."""
    length = min(LONGEST, loaded.description.context)
    return summarise(score(loaded, prose(), length=length, most=WINDOWS))[0].value


def forward_seconds(loaded: Loaded, config: PruningConfig) -> float:
    """The processor's seconds of one pass of the calibration text through all blocks, without the head."""
    batches = calibration_windows(loaded.model, loaded.tokenizer, config).batches
    base = loaded.model.base_model
    with torch.inference_mode():
        base(**batches[0].inputs(loaded.model.device), use_cache=False)
        began = time.process_time()
        for batch in batches:
            base(**batch.inputs(loaded.model.device), use_cache=False)
    return time.process_time() - began


def timed(loaded: Loaded, settings: dict) -> dict:
    """One pruning of a copy."""
    sizes = calibration_sizes(loaded, Settings(settings["method"], 0.5, solver=settings.get("solver", "none")))
    config = PruningConfig(**settings, sparsity=0.5, **sizes)
    network = copy.deepcopy(loaded.model)
    passed = forward_seconds(loaded, config)
    clock = Clock()
    began, worked = time.perf_counter(), time.process_time()
    with clock.watching():
        report = prune(network, loaded.tokenizer, config, undoable=False)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    return {
        "seconds": seconds, "unit": "s", "processor_seconds": worked,
        "forward_pass_processor_seconds": passed, "forward_passes": worked / passed,
        "parts": dict(sorted(clock.seconds.items(), key=lambda part: -part[1])),
        "tokens": (report.calibration or {}).get("tokens", 0),
        "perplexity_small_text": small_text(loaded._replace(model=network)), "settings": config.as_dict(),
    }  # fmt: skip


def slider(loaded: Loaded) -> dict:
    """The moves of the slider."""
    sizes = calibration_sizes(loaded)
    config = PruningConfig(**sizes)
    results: dict = {}
    with tempfile.TemporaryDirectory() as cache:
        before = os.environ.get("ESPALIER_CACHE")
        os.environ["ESPALIER_CACHE"] = cache
        try:
            for name in ("first", "from_disk"):
                began = time.perf_counter()
                norms = norms_of(loaded.model, loaded.tokenizer, config)
                results[f"statistics_{name}"] = {"seconds": time.perf_counter() - began, "unit": "s"}
            results["statistics_bytes"] = sum(file.stat().st_size for file in Path(cache).rglob("*.safetensors"))
        finally:
            os.environ.pop("ESPALIER_CACHE") if before is None else os.environ.update(ESPALIER_CACHE=before)
    began = time.perf_counter()
    twin = LiveTwin(loaded.model)
    results["copy"] = {"seconds": time.perf_counter() - began, "unit": "s"}
    for method, pattern in MOVES:
        free = pattern == "unstructured"
        chosen = [PruningConfig(method, s, pattern, **sizes) for s in (POSITIONS if free else (None,) * len(POSITIONS))]
        runs, worked = [], []
        for position in chosen:
            began, start = time.perf_counter(), time.process_time()
            twin.apply(position, norms)
            runs.append(time.perf_counter() - began)
            worked.append(time.process_time() - start)
        results[f"{method}, {pattern}"] = {
            "seconds": median(runs), "runs": runs, "processor_seconds": median(worked), "unit": "s",
        }  # fmt: skip
    twin.apply(PruningConfig(sparsity=0.5, **sizes), norms)
    results["perplexity_small_text_wanda_50"] = small_text(loaded._replace(model=twin.model))
    return results


def main() -> None:
    """Measures, prints and stores, after every method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--only", nargs="+", choices=(*METHODS, SLIDER), help="measure these again")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load(options.model)
    file = OUT / "results.json"
    results = read_json(file)["results"] if file.exists() else {}
    results.setdefault("dense", {"perplexity_small_text": small_text(loaded)})
    for name in options.only or (*METHODS, SLIDER):
        results[name] = slider(loaded) if name == SLIDER else timed(loaded, METHODS[name])
        results[name]["load_before"] = os.getloadavg()[0]  # others on the machine make it slower
        print(name, json.dumps(results[name], indent=1), flush=True)
        document = {
            "schema_version": 1, "command": f"python {command_line()}", "environment": environment(),
            "protocol": {"model": options.model, "sparsity": 0.5, "threads": options.threads}, "results": results,
        }  # fmt: skip
        write_json(file, document)


if __name__ == "__main__":
    main()
