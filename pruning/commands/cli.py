"""The command line: `python -m pruning prune|run|pack|unpack|inspect|methods`. Imports nothing heavy until a command runs."""

import argparse
import json
from collections.abc import Sequence

from models.console.command import Parser, add_debug, finish


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    options = build_parser().parse_args(arguments)
    return finish(lambda: options.run(options), options.debug)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(prog="python -m pruning", description="Make a language model smaller, and see what was removed.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="prune|run|pack|unpack|inspect|methods")
    _add_prune(commands)
    _add_packing(commands)
    inspect = commands.add_parser("inspect", help="what was removed, layer by layer, read back from the files")
    inspect.add_argument("model", metavar="DIR", help="a saved model: a folder, a Hub id, or embedded")
    inspect.set_defaults(run=run_inspect)
    methods = commands.add_parser("methods", help="every method there is, with one line each")
    methods.set_defaults(run=run_methods)
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
        add_debug(command)
    return parser


def _add_prune(commands) -> None:
    prune = commands.add_parser("prune", help="prune a model and save it as a plain Hugging Face folder")
    _add_model(prune)
    prune.add_argument("--plan", metavar="FILE", help="the plan that --dry-run --json or a pruning.json holds")
    prune.add_argument(
        "--pack", nargs="?", const="auto", metavar="FORMAT", help="save it packed, small and fast (see pack --help)"
    )
    prune.add_argument("--recipe", dest="recipe_only", action="store_true", help="print these settings as a recipe")
    _add_machine(prune)
    prune.set_defaults(run=run_prune)
    _add_settings(prune.add_argument_group("settings"))
    recipe = commands.add_parser("run", help="do what a recipe says, a YAML file, or a pruning.json again")
    recipe.add_argument(
        "recipe", metavar="RECIPE", help="what `prune --recipe` prints, or the pruning.json of a result"
    )
    _add_model(recipe, nargs="?")
    _add_machine(recipe)
    recipe.set_defaults(run=run_recipe, recipe_only=False)


def _add_model(command, **how) -> None:
    command.add_argument(
        "model", metavar="MODEL", **how, help="embedded, smollm2, a folder, or a Hub id owner/name[@revision]"
    )
    command.add_argument("--out", metavar="DIR", help="the folder to write; must not hold anything yet")


def _add_machine(command) -> None:
    command.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute")
    command.add_argument("--offload", action="store_true", help="only one block at a time on the GPU")
    command.add_argument(
        "--dtype", default="auto", metavar="auto|float32|bfloat16|float16", help="of the result (auto: as stored)"
    )
    command.add_argument("--activations", default="cpu", choices=["cpu", "disk"], help="where they wait between blocks")
    command.add_argument("--resume", action="store_true", help="go on with a run that was interrupted")
    command.add_argument("--dry-run", action="store_true", help="show what would go, and a forecast; write nothing")


def _add_packing(commands) -> None:
    pack = commands.add_parser("pack", help="store the zeros of a saved model as a bit each, or its values as int8")
    pack.add_argument("model", metavar="DIR", help="a plain Hugging Face folder, a Hub id, or embedded")
    pack.add_argument("--out", metavar="DIR", required=True, help="the folder to write; must not hold anything yet")
    pack.add_argument(
        "--format",
        default="auto",
        metavar="auto|bitmask|N:M|dense|int8[:GROUP]",
        help="auto (the smallest that changes nothing), or int8 values, with a scale a row or for GROUP inputs",
    )
    pack.add_argument(
        "--no-signed-zeros", dest="signed_zeros", action="store_false", help="take -0.0 for 0: smaller, not bit for bit"
    )
    pack.set_defaults(run=run_pack)
    unpack = commands.add_parser("unpack", help="make the plain Hugging Face folder of a packed one again")
    unpack.add_argument("model", metavar="DIR", help="a packed folder")
    unpack.add_argument("--out", metavar="DIR", required=True, help="the folder to write; must not hold anything yet")
    unpack.set_defaults(run=run_unpack)


def _add_settings(group) -> None:
    """The fields of `PruningConfig`, which knows their defaults: an option that is not given is not there."""

    def add(option: str, metavar: str, help: str, type: type = str) -> None:
        group.add_argument(option, default=argparse.SUPPRESS, metavar=metavar, help=help, type=type)

    add("--method", "NAME", "what decides which weights go (default: wanda)")
    add("--sparsity", "S", "fraction to remove, 0 <= S < 1 (default: 0.5)", float)
    add("--budget", "SIZE", "in its place: 3.5M parameters not zero, or 9MiB packed, of the whole model")
    add("--pattern", "unstructured[:row|:layer|:global]|N:M|block:RxC", "which zeros; N kept of every M inputs")
    add("--structure", "none|layers", "single weights, or whole blocks (default: none)")
    add("--allocation", "NAME", "how the sparsity is shared out (default: uniform)")
    add("--solver", "NAME", "what becomes of the weights that stay (default: none)")
    add(
        "--match",
        "none|dense",
        "what projections aim at: their own outputs, or the dense model's stream (default: none)",
    )
    add("--schedule", "NAME", "in how many steps the zeros come (default: one-shot)")
    add("--calibration", "embedded[:PARTS]|self|FILE|HUB_DATASET", "the text (default: embedded, all parts)")
    add("--columns", "A,B", "the columns of its rows that are joined (default: text, messages and the like)")
    add("--samples", "N", "calibration windows (default: 128)", int)
    add("--sequence-length", "L", "tokens a window (default: context, up to 2048)", int)
    add("--recover", "NAME[+NAME]", "what wins quality back afterwards (default: none)")
    add("--recover-minutes", "M", "how long that may take (default: by the calibration text)", float)
    add("--seed", "N", "decides the calibration windows (default: 0)", int)


def run_prune(options: argparse.Namespace) -> None:
    """`prune`: everything of it in a file of its own."""
    from pruning.commands import prune_command

    prune_command.run_prune(options)


def run_recipe(options: argparse.Namespace) -> None:
    """`run`."""
    from pruning.commands import prune_command

    prune_command.run_recipe(options)


def run_pack(options: argparse.Namespace) -> None:
    """`pack`."""
    from pruning.packing import pack_command

    pack_command.run_pack(options)


def run_unpack(options: argparse.Namespace) -> None:
    """`unpack`."""
    from pruning.packing import pack_command

    pack_command.run_unpack(options)


def run_inspect(options: argparse.Namespace) -> None:
    """`inspect`: counts what the files hold."""
    from pruning.anatomy.inspection import inspect
    from pruning.commands import display

    inspection = inspect(options.model)
    print(json.dumps(inspection.as_dict()) if options.json else display.inspection_text(inspection))


def run_methods(options: argparse.Namespace) -> None:
    """`methods`: the catalogue."""
    from pruning.commands import display
    from pruning.registry import catalogue

    entries = catalogue()
    if options.json:
        kinds = dict.fromkeys(entry.kind for entry in entries)
        print(json.dumps({kind: [entry.as_dict() for entry in entries if entry.kind == kind] for kind in kinds}))
    else:
        print(display.methods_text(entries))
