"""Writes requirements*.txt, the exact releases that are tested, from the ranges in requirements*.in.

    python -m benchmarks.pin [--check]

Resolves with uv (`pip install uv`) for Python 3.10 and later and for every platform at once; what differs between them
stands there with a marker. Each file is whole, so that a Space, whose builder reads requirements.txt alone, builds the
same next month. Packages that torch itself pins to its CUDA build are left to torch: without them the same file serves
a CPU build. --check writes nothing and exits with 1 if a range no longer admits what is pinned.
After it: `python -m benchmarks.newest` runs the tests on the same releases.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from models.console.command import Parser, add_debug, finish
from models.errors import EspalierError, RequestError
from models.storage.files import write_text

NAMES = ("requirements", "requirements-training", "requirements-dev", "requirements-benchmarks")
OLDEST_PYTHON = "3.10"
LEFT_TO_TORCH = re.compile(r"(nvidia|cuda)-|triton==")
HEAD = "# Exact releases that are tested, written by `python -m benchmarks.pin` from {name}.in: change that file.\n"
PIN = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)")


def pins(text: str) -> dict[str, set[str]]:
    """By package the releases that a pinned file names, one for each marker. Names in lower case, with hyphens."""
    found: dict[str, set[str]] = {}
    for match in PIN.finditer(re.sub(r"#.*", "", text)):
        found.setdefault(match["name"].lower().replace("_", "-"), set()).add(match["version"])
    return found


def resolve(name: str, constraints: list[Path]) -> str:
    """The text of `name`.txt. RequestError without uv, EspalierError where the ranges cannot be met."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        f"{name}.in",
        "--universal",
        "--python-version",
        OLDEST_PYTHON,
    ]
    command += ["--no-header", "--no-annotate", "--quiet"]
    command += [word for links in os.environ.get("PIP_FIND_LINKS", "").split() for word in ("--find-links", links)]
    command += [word for file in constraints for word in ("--constraint", str(file))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if "No module named uv" in done.stderr:
        raise RequestError("uv is missing: pip install uv.")
    if done.returncode:
        raise EspalierError(f"{name}.in cannot be resolved: {' '.join(done.stderr.split())}")
    return HEAD.format(name=name) + "".join(f"{line}\n" for line in tidy(done.stdout.splitlines(), wanted(name)))


def tidy(lines: list[str], asked_for: set[str]) -> list[str]:
    """uv's lines without what is left to torch, the names of local builds, and markers between equal releases."""
    kept: dict[str, list[str]] = {}
    for line in lines:
        release, semicolon, marker = re.sub(r"(==[^\s;+]+)\+\w+", r"\1", line).partition(" ; ")
        if not LEFT_TO_TORCH.match(release) or release.partition("==")[0] in asked_for:
            kept.setdefault(release, []).append(semicolon + marker)
    return [release + (markers[0] if len(markers) == 1 else "") for release, markers in kept.items()]


def wanted(name: str) -> set[str]:
    """The packages that `name`.in asks for by itself, with the files that it includes."""
    found = set()
    for line in (ROOT / f"{name}.in").read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= wanted(line.removeprefix("-r ").removesuffix(".in").strip())
        elif package := re.match(r"[\w.-]+", line):
            found.add(package.group().lower().replace("_", "-"))
    return found


def write(folder: Path) -> list[str]:
    """Resolves every file into a folder, each under what the ones before it chose; returns which differ from ours."""
    changed, made = [], []
    for name in NAMES:
        path = folder / f"{name}.txt"
        write_text(path, resolve(name, made))
        made = [path]  # of the ones before, the last holds all
        mine = ROOT / path.name
        if not mine.exists() or mine.read_text(encoding="utf-8") != path.read_text(encoding="utf-8"):
            changed.append(path.name)
    return changed


def main() -> int:
    """The command line."""
    parser = Parser(prog="python -m benchmarks.pin", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the files would change")
    add_debug(parser)
    options = parser.parse_args()

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            changed = write(Path(folder))
            print(f"would change: {', '.join(changed)}" if changed else "nothing to change")
            if options.check:
                return int(bool(changed))
            for name in changed:
                write_text(ROOT / name, (Path(folder) / name).read_text(encoding="utf-8"))
        return 0

    return finish(run, options.debug)


if __name__ == "__main__":
    sys.exit(main())
