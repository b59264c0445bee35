"""Runs the tests on the newest releases that the ranges in requirements-dev.in admit, in a fresh environment.

    python -m benchmarks.newest [--oldest] [--python PYTHON] [--keep FOLDER] [-- PYTEST ARGUMENTS]

Users who install later than we pinned, or beside other packages, meet these releases: this command meets them first.
--oldest takes the other end of the range of transformers, the dependency that changes most. --python chooses the
interpreter (3.10 to 3.12). What differs from the pins is listed; `python -m benchmarks.pin` moves them once all is green.
The exit code is pytest's.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.pin import pins
from models.console.command import Parser, add_debug, finish
from models.errors import EspalierError

RANGES = "requirements-dev.in"
OLD = ("transformers",)  # whose lowest release --oldest installs


def lowest(text: str, names: tuple[str, ...]) -> list[str]:
    """`name==release` for the lower end of each range in the text of a requirements file."""
    ends = {match[1]: match[2] for match in re.finditer(r"^([\w.-]+)>=([^,;\s]+)", text, re.MULTILINE)}
    return [f"{name}=={ends[name]}" for name in names]


def install(folder: Path, python: str, oldest: bool) -> Path:
    """A new environment with the newest releases; returns its interpreter. EspalierError if pip fails."""
    run([python, "-m", "venv", str(folder)], "the environment could not be made")
    own = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    command = [str(own), "-m", "pip", "install", "--quiet", "--upgrade", "-r", RANGES]
    if oldest:
        command += lowest((ROOT / "requirements.in").read_text(encoding="utf-8"), OLD)
    run(command, "pip could not install the releases")
    return own


def run(command: list[str], complaint: str) -> None:
    """Runs a command in the project's root. EspalierError with the complaint if it fails."""
    if code := subprocess.run(command, cwd=ROOT).returncode:
        raise EspalierError(f"{complaint} (exit code {code}): see above.")


def differences(python: Path) -> list[str]:
    """One line for each package that is installed in another release than is pinned."""
    told = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    installed = {entry["name"].lower().replace("_", "-"): entry["version"] for entry in json.loads(told.stdout)}
    pinned = pins((ROOT / "requirements-dev.txt").read_text(encoding="utf-8"))
    return [
        f"{name}: pinned {' or '.join(sorted(pinned[name]))}, here {version}"
        for name, version in sorted(installed.items())
        if name in pinned and version.partition("+")[0] not in pinned[name]
    ]


def main() -> int:
    """The command line."""
    parser = Parser(prog="python -m benchmarks.newest", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--oldest", action="store_true", help=f"the oldest release of {', '.join(OLD)} that is supported"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter of the environment (default: this one)"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the environment there and keep it")
    parser.add_argument("pytest", nargs="*", metavar="ARGUMENT", help="for pytest, after --")
    add_debug(parser)
    options = parser.parse_args()

    def test(folder: Path) -> int:
        python = install(folder, options.python, options.oldest)
        print("\n".join(differences(python)) or "all as pinned", flush=True)
        return subprocess.run([python, "-m", "pytest", *options.pytest], cwd=ROOT).returncode

    def work() -> int:
        if options.keep:
            return test(options.keep)
        with tempfile.TemporaryDirectory(prefix="espalier-newest-") as folder:
            return test(Path(folder))

    return finish(work, options.debug)


if __name__ == "__main__":
    sys.exit(main())
