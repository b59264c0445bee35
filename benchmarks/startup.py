"""How long a person waits for the page: seconds from starting `python app.py` to the first answered request.

    python benchmarks/startup.py [--repeats 5]

Each start is a fresh process on a free port, with the embedded model loaded when it answers; beside it, a fresh
process that only imports torch, transformers and gradio: the part that no page built on them can avoid. Stores
benchmarks/results/startup/results.json.
"""

import argparse
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals import statistics
from evals.environment import environment
from models.storage.files import write_json

IMPORTS = "import gradio, torch; from transformers import AutoModelForCausalLM, LlamaForCausalLM"
LIMIT = 120  # seconds after which a start has failed


def until_served() -> float:
    """Seconds until the page answers with status 200."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    began = time.perf_counter()
    command = [sys.executable, "app.py", "--model", "embedded", "--port", str(port)]
    page = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while time.perf_counter() - began < LIMIT:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=LIMIT):
                    return time.perf_counter() - began
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        raise SystemExit(f"the page did not answer within {LIMIT} s")
    finally:
        page.terminate()
        page.wait()


def until_imported() -> float:
    """Seconds of a process that imports the libraries and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, cwd=ROOT)
    return time.perf_counter() - began


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    contenders = {"served": until_served, "imports_only": until_imported}
    for measure in contenders.values():
        measure()  # fills the file cache
    runs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, measure in contenders.items():
            runs[name].append(measure())
    results = {}
    for name, seconds in runs.items():
        median = statistics.median(np.array(seconds))
        results[name] = {"median": median.value, "interval": median.interval, "runs": seconds, "unit": "s"}
        print(f"{name:14} {median.value:5.2f} s   (of {repeats}: {min(seconds):.2f} to {max(seconds):.2f})")
    out = Path(__file__).parent / "results" / "startup" / "results.json"
    write_json(
        out, {"schema_version": 1, "command": " ".join(sys.argv), "environment": environment(), "results": results}
    )


if __name__ == "__main__":
    main()
