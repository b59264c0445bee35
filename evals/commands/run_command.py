"""The command `run`: models measured and compared. Imports nothing heavy until it runs."""

import argparse
import json
import shlex
import sys

from evals import registry
from evals.commands.measuring_options import add_measuring, read_measuring
from models.console.command import add_debug

ABOUT = """\
Measure models and compare each with the first, the baseline.
Prints a Markdown report and writes it, with results.json and the samples, to a folder. A run that was cut off goes on
where it was when the same command is given again."""


def add_to(commands):
    """Adds the command to those of `python -m evals`, and returns its parser."""
    listed = "\n".join(f"  {name:16s}{registry.summary(name)}" for name in registry.names())
    run_parser = commands.add_parser(
        "run",
        help="measure models and compare each with the first",
        description=ABOUT,
        epilog=f"metrics:\n{listed}\n  evaluate:NAME   a metric of Hugging Face evaluate, on the answers to the tasks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forms = "`embedded`, a folder, or a Hub id owner/name[@revision]; the first is the baseline"
    run_parser.add_argument("models", nargs="+", metavar="MODEL", help=forms)
    run_parser.add_argument("--out", required=True, metavar="DIR", help="folder for results.json, report.md, samples")
    chosen = "default: those of the tasks, or without tasks perplexity,speed,memory"
    add_measuring(run_parser, None, chosen)
    run_parser.add_argument("--json", action="store_true", help="print the results as JSON instead of the tables")
    add_debug(run_parser)
    run_parser.set_defaults(action=run)
    return run_parser


def run(options) -> None:
    """`run`, with the options parsed."""
    measuring = read_measuring(options)
    from evals.reporting.table import markdown
    from evals.runs.run import evaluate_models
    from models.console.progress import terminal_bar

    document = evaluate_models(
        options.models,
        out=options.out,
        seed=options.seed,
        progress=terminal_bar(),
        command=shlex.join(["python", "-m", "evals", *sys.argv[1:]]),
        **measuring,
    )
    print(json.dumps(document, indent=2, ensure_ascii=False) if options.json else markdown(document).rstrip("\n"))
