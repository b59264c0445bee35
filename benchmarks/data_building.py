"""What building a corpus costs: MB a second and peak memory on the Wikipedia file, and how memory goes with its size.

    python benchmarks/data_building.py --source DATA [--workers N] [--parts 0.25,1]

Each part (a share of the articles of `wikipedia_en_2015/train.jsonl.xz`, from its beginning) is built by the real
command, in a process of its own, with the test sets below DATA kept out and a vocabulary of 4096. Throughput is the
UTF-8 text read over the wall time of the whole command: cleaning, filters, test texts, duplicates, tokenizer and
shards. Memory is the most that the command and its workers hold together: their proportional set sizes, in which a page
that several share is counted once, asked for every half second. Stores benchmarks/results/data_building/results.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals.environment import environment
from models.storage.files import read_json, write_json
from training.documents import read_documents
from training.sources import open_text

OUT = Path(__file__).parent / "results" / "data_building"
WIKIPEDIA = "wikipedia_en_2015/train.jsonl.xz"


def write_part(source: Path, share: float, path: Path) -> int:
    """Writes that share of the articles to a plain file; returns the bytes of their texts."""
    with open_text(source / WIKIPEDIA) as file:
        count = round(share * sum(1 for _ in file))
    with open_text(source / WIKIPEDIA) as file, open(path, "w", encoding="utf-8") as part:
        part.writelines(line for _, line in zip(range(count), file, strict=False))
    return sum(len(text.encode()) for text in read_documents(path))


def held(process: psutil.Process) -> int:
    """The memory of a process and all it started, in bytes."""
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            total += member.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass
    return total


def build(source: Path, text: Path, folder: Path, workers: int) -> dict:
    """Seconds, peak memory and the manifest's figures of one build."""
    out = folder / "corpus"
    command = [sys.executable, "-m", "training", "data", "--source", source.absolute(), "--text", text, "--out", out]
    began = time.perf_counter()
    with open(folder / "log", "w") as log:
        running = subprocess.Popen([*command, "--workers", str(workers)], cwd=ROOT, stdout=log, stderr=log)
        process, peak = psutil.Process(running.pid), 0
        while running.poll() is None:
            peak = max(peak, held(process))
            try:
                running.wait(0.5)
            except subprocess.TimeoutExpired:
                pass
    seconds = time.perf_counter() - began
    if running.returncode:
        raise SystemExit((folder / "log").read_text())
    manifest = read_json(out / "manifest.json")
    report = manifest["report"]
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "documents": report["read"],
        "kept": report["kept"],
        "tokens": manifest["tokens"],
        "dropped": {name: entry["documents"] for name, entry in report["dropped"].items()},
        "duplicates": {kind: entry["documents"] for kind, entry in report["duplicates"].items()},
        "contamination": {
            name: {count: entry[count] for count in ("documents_dropped", "documents_cut", "lines")}
            for name, entry in report["contamination"].items()
        },
    }


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parts", default="0.25,1")
    options = parser.parse_args()
    results = {}
    for share in map(float, options.parts.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            size = write_part(options.source, share, folder / "wikipedia.jsonl")
            figures = build(options.source, folder / "wikipedia.jsonl", folder, options.workers)
            results[f"{share:g}"] = {"bytes": size, "bytes_per_second": size / figures["seconds"]} | figures
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {"workers": options.workers, "file": WIKIPEDIA, "vocabulary": 4096, "memory": "proportional set"},
        "results": results,
    }
    write_json(OUT / "results.json", document)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
