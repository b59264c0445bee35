"""The command line: `python -m pruning prune|inspect|methods`. Imports nothing heavy until a command runs."""

import argparse
import json
from collections.abc import Sequence

from models.command import Parser, add_debug, finish


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    options = build_parser().parse_args(arguments)
    return finish(lambda: options.run(options), options.debug)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all three commands."""
    parser = Parser(prog="python -m pruning", description="Make a language model smaller, and see what was removed.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="prune|inspect|methods")
    _add_prune(commands)
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
    prune.add_argument("model", metavar="MODEL", help="embedded, a folder, or a Hub id owner/name[@revision]")
    prune.add_argument("--out", metavar="DIR", help="the folder to write; must not hold anything yet")
    prune.add_argument("--method", metavar="NAME", help="what decides which weights go (default: wanda)")
    prune.add_argument("--sparsity", metavar="S", type=float, help="fraction to remove, 0 <= S < 1 (default: 0.5)")
    prune.add_argument("--pattern", default="unstructured", metavar="unstructured[:row|:layer]|N:M", help="N kept of every M inputs")
    prune.add_argument("--structure", metavar="none|layers", help="single weights, or whole blocks (default: none)")
    prune.add_argument("--allocation", default="uniform", metavar="NAME", help="how the sparsity is shared out")
    prune.add_argument("--solver", default="none", metavar="NAME", help="what becomes of the weights that stay")
    prune.add_argument("--schedule", default="one-shot", metavar="NAME", help="in how many steps the zeros come")
    prune.add_argument("--calibration", default="embedded", metavar="embedded|self|FILE|HUB_DATASET", help="the text")
    prune.add_argument("--samples", type=int, default=128, metavar="N", help="calibration windows (default: 128)")
    prune.add_argument("--sequence-length", type=int, metavar="L", help="tokens a window (default: context, up to 2048)")
    prune.add_argument("--recover", default="none", choices=["none"], help="what is done afterwards (only none so far)")
    prune.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute")
    prune.add_argument("--dtype", default="auto", metavar="auto|float32|bfloat16|float16", help="of the result")
    prune.add_argument("--seed", type=int, default=0, metavar="N", help="decides the calibration windows (default: 0)")
    prune.add_argument("--dry-run", action="store_true", help="show what would go; write nothing")
    prune.set_defaults(run=run_prune)


def run_prune(options: argparse.Namespace) -> None:
    """`prune`: refuses what cannot work, loads, prunes, saves, and says what was done."""
    from models.errors import RequestError
    from models.files import refuse_existing
    from models.progress import part, terminal_bar
    from pruning.config import PruningConfig

    if not options.dry_run:
        if options.out is None:
            raise RequestError("prune needs --out DIR, the folder to write (or --dry-run to only look).")
        refuse_existing(options.out)
    config = PruningConfig(
        method=options.method,
        sparsity=options.sparsity,
        pattern=options.pattern,
        structure=options.structure,
        allocation=options.allocation,
        solver=options.solver,
        schedule=options.schedule,
        calibration=options.calibration,
        samples=options.samples,
        sequence_length=options.sequence_length,
        recover=options.recover,
        seed=options.seed,
    )
    from models import load
    from pruning import display, pipeline
    from pruning.saving import save_pruned

    model, tokenizer, description = load(options.model, options.device, options.dtype)
    bar = terminal_bar()
    if options.dry_run:
        plan = pipeline.preview(model, tokenizer, config, progress=bar)
        bar(1.0, "Planned")
        print(json.dumps({"dry_run": True, "plan": plan.as_dict()}) if options.json else display.plan_text(plan))
        return
    report = pipeline.prune(model, tokenizer, config, progress=part(bar, 0.0, 0.9), undoable=False)
    bar(0.9, "Saving, and loading the result in a fresh process")
    save_pruned(model, tokenizer, report, options.out, dense=description)
    bar(1.0, f"Saved to {options.out}")
    if options.json:
        print(json.dumps({"out": str(options.out), "dense": description.id, **report.as_dict()}))
    else:
        print(display.report_text(report, options.out))


def run_inspect(options: argparse.Namespace) -> None:
    """`inspect`: counts what the files hold."""
    from pruning import display
    from pruning.inspection import inspect

    inspection = inspect(options.model)
    print(json.dumps(inspection.as_dict()) if options.json else display.inspection_text(inspection))


def run_methods(options: argparse.Namespace) -> None:
    """`methods`: the catalogue."""
    from pruning import display
    from pruning.registry import catalogue

    entries = catalogue()
    if options.json:
        kinds = dict.fromkeys(entry.kind for entry in entries)
        print(json.dumps({kind: [entry.as_dict() for entry in entries if entry.kind == kind] for kind in kinds}))
    else:
        print(display.methods_text(entries))
