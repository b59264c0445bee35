"""Fills the tables of README.md and of the model card from stored results, so that no figure is typed by hand.

    python benchmarks/publish.py [--check]

A block between `<!-- begin: NAME -->` and `<!-- end: NAME -->` is replaced by what the function NAME of BLOCKS makes
of the results; these functions are in benchmarks/publishing/. A block whose results are not there, or of another form,
keeps its text, and a line says so. With --check nothing is written and the exit code says whether a file would change.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.publishing import calibration, embedded, harness, packed, page, pruned, real, registered, trained
from models.errors import RequestError
from models.storage.files import write_text

PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("page", "pruning", "packing", "embedded")),
    ROOT / "models" / "embedded" / "README.md",
    ROOT / "evals" / "README.md",
    ROOT / "training" / "README.md",
)
BLOCK = re.compile(r"(<!-- begin: ([\w-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)
BLOCKS = {
    function.__name__.replace("_", "-"): function
    for function in (
        calibration.calibration_mix, embedded.embedded_classes, embedded.embedded_grammar, embedded.embedded_making, embedded.embedded_quality,
        embedded.embedded_samples, embedded.embedded_shape, harness.harness_parity, harness.harness_tasks, harness.interval_coverage,
        harness.perplexity_speed,
        packed.packed_decode, packed.packed_layouts, packed.packed_loading, packed.packed_prefill, packed.packed_products,
        page.startup, page.streaming, pruned.one_shot, pruned.pruning_cost, pruned.pruning_waits, pruned.resume_kills, pruned.solvers,
        real.real_dense, real.real_model, real.real_packed, real.real_short, real.real_tasks, registered.methods, registered.metrics, registered.tasks, trained.classification_folds, trained.data_building,
        trained.distillation, trained.trainer, trained.training_speed,
    )
}  # fmt: skip


def filled(text: str) -> tuple[str, list[str]]:
    """The text with every block made anew, and a line for each that could not be and keeps its text."""
    kept = []

    def made(match: re.Match) -> str:
        block = BLOCKS[match[2]]
        try:
            return f"{match[1]}{block()}\n{match[3]}"
        except RequestError as error:
            kept.append(f"{match[2]} keeps its text: {error}")
        except KeyError as error:
            kept.append(f"{match[2]} keeps its text: its results lack {error}; measure again")
        return match[0]

    return BLOCK.sub(made, text), kept


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file would change")
    check = parser.parse_args().check
    stale = False
    for page_file in PAGES:
        text = page_file.read_text(encoding="utf-8")
        new, kept = filled(text)
        for line in kept:
            print(f"{page_file.relative_to(ROOT)}: {line}")
        if new != text:
            stale = True
            print(f"{page_file.relative_to(ROOT)}: {'out of date' if check else 'written'}")
            if not check:
                write_text(page_file, new)
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
