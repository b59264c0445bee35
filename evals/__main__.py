"""The command line of evals: `python -m evals run MODEL [MODEL ...] --out DIR`."""

import argparse
import json
import shlex
import sys

from evals import registry
from models.command import Parser, add_debug, finish
from models.progress import terminal_bar


def build_parser() -> argparse.ArgumentParser:
    """The arguments; nothing here imports torch."""
    parser = Parser(prog="python -m evals", description="Measure language models, each number with its spread.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    metrics = "\n".join(f"  {name:12s}{registry.summary(name)}" for name in registry.names())
    run = commands.add_parser(
        "run",
        help="measure models and compare each with the first",
        description="Measure models and compare each with the first, the baseline.\n"
        "Prints a Markdown report and writes it, with results.json, to a folder.",
        epilog=f"metrics:\n{metrics}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forms = "`embedded`, a folder, or a Hub id owner/name[@revision]; the first is the baseline"
    run.add_argument("models", nargs="+", metavar="MODEL", help=forms)
    run.add_argument("--out", required=True, metavar="DIR", help="folder for results.json and report.md")
    run.add_argument("--metrics", default="perplexity,speed,memory", metavar="A,B", help="default: %(default)s")
    run.add_argument(
        "--data",
        default="embedded",
        metavar="TEXT",
        help="text for perplexity: `embedded`, a .txt or .jsonl file (also .gz), or a Hub data set "
        "owner/name[@revision][:config[:split]] (default: %(default)s)",
    )
    run.add_argument("--quick", action="store_true", help="fewer samples: wider intervals, sooner")
    run.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: %(default)s")
    run.add_argument("--dtype", default="auto", metavar="auto|float32|bfloat16|float16", help="default: %(default)s")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap (default: %(default)s)")
    run.add_argument("--json", action="store_true", help="print the results as JSON instead of the tables")
    add_debug(run)
    run.set_defaults(action=run_models)
    return parser


def run_models(arguments: argparse.Namespace) -> None:
    """`evals run`."""
    from evals.run import evaluate_models
    from evals.table import markdown

    document = evaluate_models(
        arguments.models,
        out=arguments.out,
        metrics=[name.strip() for name in arguments.metrics.split(",") if name.strip()],
        data=arguments.data,
        quick=arguments.quick,
        device=arguments.device,
        dtype=arguments.dtype,
        seed=arguments.seed,
        progress=terminal_bar(),
        command=shlex.join(["python", "-m", "evals", *sys.argv[1:]]),
    )
    print(json.dumps(document, indent=2, ensure_ascii=False) if arguments.json else markdown(document).rstrip("\n"))


def main() -> int:
    """Runs the command line and returns the exit code."""
    arguments = build_parser().parse_args()
    return finish(lambda: arguments.action(arguments), arguments.debug)


if __name__ == "__main__":
    sys.exit(main())
