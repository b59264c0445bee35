"""The command line of evals: `python -m evals run MODEL [MODEL ...] --out DIR`."""

import argparse
import json
import shlex
import sys

from evals import registry
from evals.reporting import report_command
from evals.sweeping import sweep_command
from models.command import Parser, add_debug, finish
from models.progress import terminal_bar


def build_parser() -> argparse.ArgumentParser:
    """The arguments; nothing here imports torch."""
    parser = Parser(prog="python -m evals", description="Measure language models, each number with its spread.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    metrics = "\n".join(f"  {name:16s}{registry.summary(name)}" for name in registry.names())
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
    run.add_argument(
        "--metrics", metavar="A,B", help="default: those of the tasks, or without tasks perplexity,speed,memory"
    )
    run.add_argument(
        "--tasks", default="", metavar="A,B", help="tasks by name (see `evals tasks`) or file: .yaml, .jsonl, .csv"
    )
    run.add_argument("--source", metavar="DIR", help="folder of the public data sets that tasks name")
    run.add_argument("--limit", type=int, metavar="N", help="at most N rows of every task, evenly spaced")
    run.add_argument(
        "--columns",
        default="",
        metavar="FIELD=COLUMN,...",
        help="columns of a .jsonl or .csv task: text, label, choices",
    )
    run.add_argument(
        "--data",
        default="embedded",
        metavar="TEXT",
        help="text for perplexity: `embedded`, a .txt or .jsonl file (also .gz), or a Hub data set "
        "owner/name[@revision][:config[:split]] (default: %(default)s)",
    )
    run.add_argument(
        "--protocol", metavar="NAME", help="of the perplexity: gptq (default), hf-stride, lm-eval, evaluate"
    )
    run.add_argument("--length", type=int, metavar="L", help="tokens of a window (default: the protocol's)")
    run.add_argument("--stride", type=int, metavar="S", help="tokens between two windows of hf-stride (default 512)")
    run.add_argument("--quick", action="store_true", help="fewer samples: wider intervals, sooner")
    run.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: %(default)s")
    run.add_argument("--dtype", default="auto", metavar="auto|float32|bfloat16|float16", help="default: %(default)s")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap (default: %(default)s)")
    run.add_argument(
        "--cache",
        default="default",
        metavar="FILE|none",
        help="where answers are kept (default: in the user's cache folder)",
    )
    run.add_argument("--json", action="store_true", help="print the results as JSON instead of the tables")
    add_debug(run)
    run.set_defaults(action=run_models)
    listing = commands.add_parser("tasks", help="list the tasks, what they measure and the data they need")
    listing.add_argument("--json", action="store_true", help="as JSON")
    add_debug(listing)
    listing.set_defaults(action=list_tasks)
    report_command.add_to(commands)
    sweep_command.add_to(commands)
    return parser


def run_models(arguments: argparse.Namespace) -> None:
    """`evals run`."""
    from evals.reporting.table import markdown
    from evals.run import evaluate_models

    document = evaluate_models(
        arguments.models,
        out=arguments.out,
        metrics=None if arguments.metrics is None else _words(arguments.metrics),
        tasks=_words(arguments.tasks),
        source=arguments.source,
        limit=arguments.limit,
        columns=_columns(arguments.columns),
        cache=None if arguments.cache == "none" else arguments.cache,
        options={name: getattr(arguments, name) for name in ("protocol", "length", "stride")},
        data=arguments.data,
        quick=arguments.quick,
        device=arguments.device,
        dtype=arguments.dtype,
        seed=arguments.seed,
        progress=terminal_bar(),
        command=shlex.join(["python", "-m", "evals", *sys.argv[1:]]),
    )
    print(json.dumps(document, indent=2, ensure_ascii=False) if arguments.json else markdown(document).rstrip("\n"))


def list_tasks(arguments: argparse.Namespace) -> None:
    """`evals tasks`."""
    from tabulate import tabulate

    from evals import task

    found = [task.find(name) for name in task.names()]
    rows = [
        [each.name, each.metric, each.data.get("file") or f"ships ({each.data['embedded']})", each.summary]
        for each in found
    ]
    headers = ("task", "metric", "data", "summary")
    if arguments.json:
        print(json.dumps([dict(zip(headers, row, strict=True)) for row in rows], indent=2, ensure_ascii=False))
    else:
        rows = [
            [name, metric, ", ".join(data) if isinstance(data, list) else data, told]
            for name, metric, data, told in rows
        ]
        print(tabulate(rows, headers, disable_numparse=True))


def _words(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _columns(listed: str) -> dict[str, str]:
    from models.errors import RequestError

    pairs = [word.partition("=") for word in _words(listed)]
    if any(not value for _, _, value in pairs):
        raise RequestError("--columns wants FIELD=COLUMN pairs, such as text=review,label=stars.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def main() -> int:
    """Runs the command line and returns the exit code."""
    arguments = build_parser().parse_args()
    return finish(lambda: arguments.action(arguments), arguments.debug)


if __name__ == "__main__":
    sys.exit(main())
