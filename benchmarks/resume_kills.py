"""Whether a killed pruning ends as an undisturbed one: SIGKILL at random moments, `--resume`, the same SHA-256.

    python benchmarks/resume_kills.py [--model embedded] [--kills 20] [--options "--method wanda --sparsity 0.5"]

One run that nobody disturbs gives the SHA-256 of the weights and its length. Each of the others is a process that is
killed at a moment drawn uniformly from that length (the k-th from the k-th of as many equal parts, so that beginning
and end get their share) and then gone on with by the same command and `--resume`. Every weight file must be the same
byte by byte, and nothing may be left beside the folder. Stores benchmarks/results/resume_kills/results.json.
"""

import argparse
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals.environment import environment
from models.storage.files import sha256, write_json


def start(command: list[str]) -> subprocess.Popen:
    """The command as a process of its own."""
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(command: list[str]) -> None:
    """Runs the command to its end; anything but success ends the benchmark."""
    process = start(command)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)} failed: {errors.decode()}")


def kill_once(command: list[str], out: Path, moment: float) -> dict:
    """Kills the run after `moment` seconds, goes on with it, and says how far it had come and what it ended as."""
    process = start(command)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    partial = out.with_name(f"{out.name}.partial")
    record = {
        "seconds": moment,
        "killed": process.returncode == -9,
        "named": out.exists(),
        "blocks_finished": len(list(partial.glob("block-*"))),
        "saving": any(path.name.endswith(".tmp-folder") for path in out.parent.glob(f".{out.name}.*")),
    }
    finish([*command, "--resume"])
    left_over = sorted(path.name for path in out.parent.iterdir() if path != out)
    return record | {"sha256": weights(out), "left_over": left_over}


def weights(out: Path) -> dict[str, str]:
    """The SHA-256 of every weight file."""
    return {file.name: sha256(file) for file in sorted(out.glob("*.safetensors"))}


def main() -> None:
    """Kills, resumes, compares, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--options", default="--method wanda --sparsity 0.5", help="further options of prune")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base = [sys.executable, "-m", "pruning", "prune", options.model, *shlex.split(options.options), "--out"]
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        finish([*base, f"{scratch}/undisturbed/pruned"])
        length = time.perf_counter() - began
        expected = weights(Path(scratch) / "undisturbed" / "pruned")
        kills = []
        for number in range(options.kills):
            out = Path(scratch) / str(number) / "pruned"
            out.parent.mkdir()
            kills.append(kill_once([*base, str(out)], out, length * (number + draw.random()) / options.kills))
            same = kills[-1]["sha256"] == expected
            print(
                f"{number + 1:3} at {kills[-1]['seconds']:6.2f} s: {kills[-1]['blocks_finished']} blocks kept, "
                f"{'DIR named' if kills[-1]['named'] else 'DIR not named yet'}, "
                f"{'the same' if same else 'ANOTHER'} SHA-256, left over: {kills[-1]['left_over'] or 'nothing'}",
                flush=True,
            )
    equal = sum(kill["sha256"] == expected and not kill["left_over"] for kill in kills)
    killed = sum(kill["killed"] for kill in kills)
    print(f"{equal} of {len(kills)} runs ended with the same weights; {killed} were killed before they had ended")
    document = {
        "schema_version": 1,
        "command": shlex.join(sys.argv),
        "environment": environment(),
        "protocol": vars(options) | {"seconds_undisturbed": length},
        "results": {"equal": equal, "killed": killed, "runs": len(kills), "sha256": expected, "kills": kills},
    }
    write_json(Path(__file__).parent / "results" / "resume_kills" / "results.json", document)
    if equal < len(kills):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
