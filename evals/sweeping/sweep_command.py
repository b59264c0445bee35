"""The command `sweep`: models pruned by methods at sparsities, and measured. Imports nothing heavy until it runs."""

import argparse
import json
import shlex
import sys

from evals.commands.measuring_options import add_measuring, read_measuring, words
from evals.sweeping import engines
from models.console.command import add_debug
from models.errors import EspalierError, RequestError

ABOUT = """\
Prune every MODEL by every method at every sparsity (and pattern, and solver), and measure each beside the dense one,
in pairs. Every cell is a process of its own: one that fails ends alone, and the exit code is 1 then."""
NOTES = """\
With ray the machines need share no disk: models in folders, texts and results travel by content. All must have the
same Python with the same libraries; a model named by its Hub id is fetched by each machine for itself.

A sweep that was cut off goes on with --resume, which takes no finished cell again; more methods or sparsities may be
named then."""


def add_to(commands):
    """Adds the command to those of `python -m evals`, and returns its parser."""
    listed = "\n".join(f"  {name:8s}{engines.summary(name)}" for name in engines.names())
    sweep = commands.add_parser(
        "sweep",
        help="prune models by methods at sparsities, measure each, and draw the curves",
        description=ABOUT,
        epilog=f"engines:\n{listed}\n\n{NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument(
        "models", nargs="+", metavar="MODEL", help="`embedded`, a folder, or a Hub id owner/name[@revision]"
    )
    sweep.add_argument("--out", required=True, metavar="DIR", help="folder for the cells, sweep.json and the report")
    sweep.add_argument("--resume", action="store_true", help="go on with the sweep in that folder")
    sweep.add_argument("--keep-models", action="store_true", help="keep the pruned models, in DIR/models")
    sweep.add_argument("--json", action="store_true", help="print sweep.json instead of the report")
    _add_grid(sweep.add_argument_group("what is pruned, and how (see `python -m pruning methods`)"))
    measuring = sweep.add_argument_group("what is measured (as in `evals run`)")
    add_measuring(measuring, "perplexity", "default: perplexity, and those of the tasks")
    _add_engine(sweep.add_argument_group("where the cells run"))
    add_debug(sweep)
    sweep.set_defaults(action=run)
    return sweep


def _add_grid(group) -> None:
    group.add_argument("--methods", required=True, metavar="A,B")
    group.add_argument(
        "--sparsities", default="", metavar="S,T", help="fractions; not needed where all patterns fix one"
    )
    group.add_argument("--patterns", default="unstructured", metavar="A,B", help="default: %(default)s")
    group.add_argument("--solvers", default="none", metavar="A,B", help="default: %(default)s")
    group.add_argument(
        "--calibration", default="embedded", metavar="embedded[:PARTS]|self|FILE|HUB_DATASET", help="the text"
    )
    group.add_argument("--calibration-columns", metavar="A,B", help="the columns of its rows that are joined")
    group.add_argument("--samples", type=int, metavar="N", help="calibration windows (default: those of pruning)")
    group.add_argument("--sequence-length", type=int, metavar="L", help="tokens of such a window")


def _add_engine(group) -> None:
    group.add_argument(
        "--engine", default=engines.DEFAULT, metavar="|".join(engines.names()), help="default: %(default)s"
    )
    group.add_argument("--workers", type=int, metavar="N", help="cells at once (default: local 1, ray one a machine)")
    group.add_argument("--address", metavar="HOST:PORT|auto", help="of a running Ray cluster (default: one is started)")


def run(options) -> None:
    """`sweep`, with the options parsed. EspalierError, after the report, if cells failed."""
    sparsities = [_number(word) for word in words(options.sparsities)]
    measuring = read_measuring(options)
    from pathlib import Path

    from evals.sweeping.grid import Grid
    from evals.sweeping.sweep import sweep
    from evals.sweeping.sweep_plan import Request

    grid = Grid(
        words(options.methods), sparsities, words(options.patterns), words(options.solvers),
        options.calibration, options.samples, options.sequence_length, options.seed,
        options.calibration_columns,
    )  # fmt: skip
    request = Request(
        models=options.models, grid=grid, out=Path(options.out), keep_models=options.keep_models, **measuring
    )
    command = shlex.join(["python", "-m", "evals", *sys.argv[1:]])
    swept = sweep(request, options.engine, options.workers, options.address, options.resume, command)
    if options.json:
        print(json.dumps(swept.document, indent=2, ensure_ascii=False))
    elif swept.report:
        print(swept.report.text.rstrip("\n"))
    if swept.failed:
        raise EspalierError(_complaint(swept.failed, len(swept.document["cells"])))


def _complaint(failed: list[dict], count: int) -> str:
    told = "; ".join(f"{cell['name']}: {cell['error']}" for cell in failed)
    return f"{len(failed)} of {count} cells failed ({told}): the same command with --resume tries them again."


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise RequestError(f"--sparsities wants fractions such as 0.3,0.5, not {word!r}.") from None
