"""What each one-shot method leaves of the embedded model: perplexity, speed and memory, through the real commands.

    python benchmarks/one_shot.py [--quick]

Prunes `embedded` once for each row of SETTINGS with `python -m pruning prune`, measures all of them against the dense
model with one `python -m evals run`, and stores its results.json under benchmarks/results/one_shot/.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUT = Path(__file__).parent / "results" / "one_shot"
SETTINGS = {
    "wanda-50": ("--method", "wanda", "--sparsity", "0.5"),
    "magnitude-50": ("--method", "magnitude", "--sparsity", "0.5"),
    "wanda-50-layer": ("--method", "wanda", "--sparsity", "0.5", "--pattern", "unstructured:layer"),
    "magnitude-50-row": ("--method", "magnitude", "--sparsity", "0.5", "--pattern", "unstructured:row"),
    "wanda-2of4": ("--method", "wanda", "--pattern", "2:4"),
    "magnitude-2of4": ("--method", "magnitude", "--pattern", "2:4"),
    "layers-1of6": ("--structure", "layers", "--method", "block-influence", "--sparsity", "0.17"),
    "layers-2of6": ("--structure", "layers", "--method", "block-influence", "--sparsity", "0.34"),
}


def main() -> None:
    """Prunes, measures and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the quick form of evals, to try the script")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        for name, options in SETTINGS.items():
            _run("pruning", "prune", "embedded", "--out", name, *options, folder=folder)
        _run("evals", "run", "embedded", *SETTINGS, "--out", "measured", *["--quick"] * quick, folder=folder)
        OUT.mkdir(parents=True, exist_ok=True)
        for file in ("results.json", "report.md"):
            shutil.copy(Path(folder) / "measured" / file, OUT / file)


def _run(*words: str, folder: str) -> None:
    # In the folder of the pruned models, so that the results name them by name and not by a temporary path.
    code = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); runpy.run_module({words[0]!r}, run_name='__main__')"
    subprocess.run([sys.executable, "-c", code, *words[1:]], cwd=folder, check=True)


if __name__ == "__main__":
    main()
