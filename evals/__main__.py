"""The command line of evals: `python -m evals run MODEL [MODEL ...] --out DIR`."""

import argparse
import sys

from evals.commands import run_command, tasks_command
from evals.reporting import report_command
from evals.sweeping import sweep_command
from models.console.command import Parser, finish


def build_parser() -> argparse.ArgumentParser:
    """The arguments; nothing here imports torch."""
    parser = Parser(prog="python -m evals", description="Measure language models, each number with its spread.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (run_command, sweep_command, report_command, tasks_command):
        command.add_to(commands)
    return parser


def main() -> int:
    """Runs the command line and returns the exit code."""
    arguments = build_parser().parse_args()
    return finish(lambda: arguments.action(arguments), arguments.debug)


if __name__ == "__main__":
    sys.exit(main())
