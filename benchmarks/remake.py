"""Makes every stored figure again that depends on the embedded model, then fills the pages from them.

    python benchmarks/remake.py --source DATA --corpus CORPUS [STEP ...] [--force]
    python benchmarks/remake.py --list

Each step is one script of this folder in a process of its own, in the order of the list. A step is skipped if nothing
that it depends on has changed since it made the result that is stored: the files of models/embedded, the texts that
models are calibrated on, its own sources and its options, by SHA-256. So a run that was interrupted goes on where it
was, and a new model makes everything due. What was made of what is kept in benchmarks/results/remade.json. A step that
times something is due as well when the pinned releases (requirements.txt) of torch or transformers are no longer those
that it ran with; figures of quality do not move with them, and the list only tells what they were made with. Timings
are only worth something on an idle machine.
"""

import argparse
import hashlib
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.pin import pins
from models.console.command import Parser, add_debug, finish
from models.console.progress import format_seconds
from models.errors import EspalierError, RequestError
from models.source import EMBEDDED
from models.storage.files import read_json, sha256, write_json

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
RECORD = RESULTS / "remade.json"
PUBLISH = FOLDER / "publish.py"
FOLDERS = {"DATA": "--source", "CORPUS": "--corpus"}  # words of a step's options, and the option that names the folder
PINS = ROOT / "requirements.txt"
RELEASES = ("torch", "transformers")
TEXT = {"README.md"}  # of the model's folder: publishing writes it
TEXTS = ROOT / "pruning" / "calibration" / "texts"  # what `embedded` calibrates on


@dataclass(frozen=True)
class Step:
    """One script: its options (with the words of FOLDERS), what it stores, and its minutes on two idle cores."""

    script: str
    options: str
    result: str
    minutes: float
    parts: str = ""  # glob of further sources
    timed: bool = False  # whether its figures are times, which other releases of the libraries change

    @property
    def name(self) -> str:
        """The script without its ending."""
        return self.script.removesuffix(".py")

    def sources(self) -> list[Path]:
        """The script and its further sources."""
        return [FOLDER / self.script, *sorted(FOLDER.glob(self.parts) if self.parts else ())]

    def command(self, folders: dict[str, Path]) -> list[str]:
        """The command line that makes the result. RequestError if it needs a folder that was not given."""
        words = shlex.split(self.options)
        if missing := [word for word in words if word in FOLDERS and word not in folders]:
            raise RequestError(f"{FOLDERS[missing[0]]} {missing[0]} is missing: {self.script} needs that folder.")
        script = FOLDER / self.script
        script = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script  # the result tells its command
        return [sys.executable, str(script), *(str(folders.get(word, word)) for word in words)]


STEPS = (
    Step("embedded_quality.py", "--source DATA", "embedded_quality/results.json", 12, "quality/*.py"),
    Step("one_shot.py", "", "one_shot/results.json", 8, timed=True),
    Step(
        "solvers.py",
        "--source DATA --patterns 0.5 2:4 0.7 0.6 4:8 --windows 128 --most 60",
        "solvers/embedded.json",
        60,
    ),
    Step("distillation.py", "--source DATA --corpus CORPUS", "distillation/results.json", 15),
    Step("pruning_cost.py", "--repeats 3", "pruning_cost/results.json", 20, timed=True),
    Step("resume_kills.py", "--kills 20 --options '--method wanda --samples 128'", "resume_kills/results.json", 12),
    Step("startup.py", "--repeats 5", "startup/results.json", 3, timed=True),
    Step("streaming.py", "--repeats 15", "streaming/results.json", 3, timed=True),
    Step("harness_parity.py", "--source DATA", "harness_parity/results.json", 5, timed=True),
    Step("perplexity_speed.py", "", "perplexity_speed/results.json", 2, timed=True),
    Step("packed_layouts.py", "", "packed_layouts/results.json", 3, "packed_decode.py", timed=True),
)


def inputs(step: Step) -> str:
    """The SHA-256 of all that the step's figures depend on: model, calibration texts, sources and options."""
    digest = hashlib.sha256(step.options.encode())
    model = sorted(path for path in EMBEDDED.iterdir() if path.is_file() and path.name not in TEXT)
    texts = sorted(path for path in TEXTS.iterdir() if path.suffix in {".zst", ".txt"})
    for path in (*model, *texts, *step.sources()):
        digest.update(f"{path.name} {sha256(path)}\n".encode())
    return digest.hexdigest()


def is_current(step: Step, record: dict) -> bool:
    """Whether the stored result is the one that the step made of its present inputs."""
    made, result = record.get(step.name), RESULTS / step.result
    if not result.is_file() or (step.timed and moved(step)):
        return False
    return bool(made) and result.is_file() and made["inputs"] == inputs(step) and made["result"] == sha256(result)


def moved(step: Step) -> list[str]:
    """The libraries of RELEASES that are pinned to another release than the stored result was made with, in words."""
    pinned = pins(PINS.read_text(encoding="utf-8"))
    used = read_json(RESULTS / step.result).get("environment", {}).get("libraries", {})
    return [
        f"{name} {used[name]} -> {' or '.join(sorted(pinned[name]))}"
        for name in RELEASES
        if name in used and used[name].partition("+")[0] not in pinned[name]
    ]


def make(step: Step, command: list[str]) -> dict:
    """Runs the step; returns what the record keeps of it. EspalierError if it fails, or its inputs change meanwhile."""
    before, began = inputs(step), time.monotonic()
    run(command)
    if inputs(step) != before:
        raise EspalierError(f"The model or {step.script} changed while it ran: give the command again.")
    seconds = round(time.monotonic() - began, 1)
    return {"inputs": before, "result": sha256(RESULTS / step.result), "seconds": seconds}


def run(command: list[str]) -> None:
    """Runs a script of this folder to its end. EspalierError if it fails."""
    if code := subprocess.run(command, cwd=ROOT).returncode:
        raise EspalierError(
            f"{Path(command[1]).name} ended with exit code {code}: mend what it says above and give the command again; "
            "finished steps are kept."
        )


def chosen(names: list[str]) -> list[Step]:
    """The steps of these names in the order of the list; all of them for none."""
    known = {step.name: step for step in STEPS}
    if unknown := [name for name in names if name not in known]:
        raise RequestError(f"There is no step {unknown[0]}: use some of {', '.join(known)}.")
    return [step for step in STEPS if not names or step.name in names]


def remake(options: argparse.Namespace) -> None:
    """Lists the steps, or makes what is due and publishes."""
    steps = chosen(options.steps)
    record = read_json(RECORD) if RECORD.is_file() else {}
    due = [step for step in steps if options.force or not is_current(step, record)]
    if options.list:
        for step in steps:
            seconds = record[step.name]["seconds"] if step.name in record else 60 * step.minutes
            state = "due" if step in due else "current"
            releases = f"  ({', '.join(moved(step))})" if (RESULTS / step.result).is_file() and moved(step) else ""
            print(f"{state:8} {step.name:18} about {format_seconds(seconds):12} {step.options}{releases}")
        return
    folders = {word: path.resolve() for word, path in (("DATA", options.source), ("CORPUS", options.corpus)) if path}
    commands = [step.command(folders) for step in due]
    for number, (step, command) in enumerate(zip(due, commands, strict=True), 1):
        print(f"{number} of {len(due)}: {step.name}", flush=True)
        record[step.name] = make(step, command)
        write_json(RECORD, record)
    run([sys.executable, str(PUBLISH)])


def main() -> int:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help="only these; all if none is named")
    parser.add_argument("--source", type=Path, metavar="DATA", help="the data folder of training/README.md")
    parser.add_argument("--corpus", type=Path, metavar="CORPUS", help="what `python -m training data` made of it")
    parser.add_argument("--list", action="store_true", help="show what would run and about how long; run nothing")
    parser.add_argument("--force", action="store_true", help="make the results again although they are current")
    add_debug(parser)
    options = parser.parse_args()
    return finish(lambda: remake(options), options.debug)


if __name__ == "__main__":
    sys.exit(main())
