"""`python -m training data|pretrain|finetune`: the embedded model, made again."""

import sys

from models.console.command import Parser, add_debug, finish
from training import data_command, finetune_command, pretrain_command


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and runs one stage; returns the exit code."""
    options = build_parser().parse_args(arguments)
    return finish(lambda: options.run(options), options.debug)


def build_parser() -> Parser:
    """The command line of `python -m training`."""
    parser = Parser(prog="python -m training", description="Makes the embedded model again, stage by stage.")
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    for command in (data_command, pretrain_command, finetune_command):
        add_debug(command.add_to(stages))
    return parser


if __name__ == "__main__":
    sys.exit(main())
