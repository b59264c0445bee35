"""A real language model, dense and pruned by every method: the table that README begins with.

    python benchmarks/real_model.py --source DATA [--cells 'wanda@*' '*@2:4'] [--most 1] [--list]

Each cell is one pruned model. What is measured of it is stored at once, in a small file below
benchmarks/results/real_model/, window by window and row by row, so that cells can be paired; the pruned model is not
kept. A cell that is stored under the same protocol is not made again (--force does), and the finished steps of one that
was interrupted are kept, so that the same command goes on where it was. Cells are made in the order of their importance;
--most N makes N of those that are due and ends. `benchmarks/publish.py` makes the tables of whatever is there.

Measured are: perplexity on WikiText-2 test and on C4 (protocol gptq, the first --windows windows), the accuracy on
seven tasks (--rows evenly spaced rows of each), KL divergence from the dense model and top-1 agreement (--close windows
of each text), the seconds of pruning, and bytes and speed packed. --published asks the dense model alone the tasks that
its makers published figures of, on many more rows. `DATA` is the folder of `training/README.md`.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from models.console.command import Parser, add_debug, finish
from models.console.progress import format_seconds, terminal_bar

OUT = Path(__file__).parent / "results" / "real_model"


def run(options: argparse.Namespace) -> None:
    """Makes what is due, cell by cell, or lists the cells."""
    from benchmarks.real.bench import Bench, is_stored
    from benchmarks.real.cells import chosen

    if options.published:
        Bench(options).make_published(terminal_bar())
        return
    cells = chosen(options.cells)
    due = [cell for cell in cells if options.force or not is_stored(cell, options)]
    if options.list:
        for cell in cells:
            print(f"{'due' if cell in due else 'stored':8} {cell.name}")
        return
    due = due[: options.most]
    if not due:
        print("Nothing is due: every cell is stored. Fill the tables by python benchmarks/publish.py.")
        return
    bench, bar = Bench(options), terminal_bar()
    for number, cell in enumerate(due, 1):
        began = time.monotonic()
        bench.make(cell, bar)
        print(f"{number} of {len(due)}: {cell.name} is stored ({format_seconds(time.monotonic() - began)})", flush=True)


def main() -> int:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, metavar="DATA", help="folder of the texts and tasks")
    parser.add_argument("--model", default="smollm2", help="MODEL (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="that the dense model is loaded in (default: %(default)s)")
    parser.add_argument("--cells", nargs="+", default=[], metavar="CELL", help="names, or patterns of names")
    parser.add_argument("--most", type=int, metavar="N", help="make at most N cells")
    parser.add_argument("--rows", type=int, default=150, metavar="N", help="rows of each task (default: %(default)s)")
    parser.add_argument("--windows", type=int, default=10, metavar="N", help="windows of a text (default: %(default)s)")
    parser.add_argument("--close", type=int, default=3, metavar="N", help="windows of KL (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="turns of the timing (default: %(default)s)")
    parser.add_argument("--calibration", default="embedded", help="of the pruning, or c4: the rows not measured on")
    parser.add_argument("--samples", type=int, default=32, help="calibration windows (default: %(default)s)")
    parser.add_argument("--sequence-length", type=int, default=1024, help="of how many tokens (default: %(default)s)")
    parser.add_argument("--published", action="store_true", help="only the tasks with published figures")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="where cells are stored")
    parser.add_argument("--list", action="store_true", help="show the cells; run nothing")
    parser.add_argument("--force", action="store_true", help="make cells again that are stored")
    add_debug(parser)
    options = parser.parse_args()
    return finish(lambda: run(options), options.debug)


if __name__ == "__main__":
    sys.exit(main())
