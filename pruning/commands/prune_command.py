"""The commands `prune` and `run`: options or a recipe become a run, and what it did is said."""

import argparse
import dataclasses
import json

from models.console.progress import terminal_bar
from models.errors import RequestError
from models.storage.files import read_json
from pruning.commands import display
from pruning.config import PruningConfig
from pruning.packing.format import Format
from pruning.plan import Plan
from pruning.running.artifact import Artifact
from pruning.running.recipe import Recipe
from pruning.running.run import Outlook, look, run
from pruning.running.session import Machine
from pruning.saved.replaying import read_record

SETTINGS = [field.name for field in dataclasses.fields(PruningConfig)]


def run_prune(options: argparse.Namespace) -> None:
    """`prune`, with the options that `pruning.commands.cli` parsed."""
    config, plan = _request(options)
    _go(options, Recipe(config, None if options.pack is None else Format.parse(options.pack)), plan)


def run_recipe(options: argparse.Namespace) -> None:
    """`run RECIPE [MODEL]`."""
    recipe, model = Recipe.read(options.recipe)
    options.model = options.model or model
    if options.model is None:
        raise RequestError(f"{options.recipe} names no model: put MODEL behind it, or a line `model: NAME` into it.")
    _go(options, recipe, None)


def _go(options: argparse.Namespace, recipe: Recipe, plan: Plan | None) -> None:
    if options.recipe_only:
        print(recipe.to_yaml(options.model), end="")
        return
    machine = Machine(options.device, options.dtype, options.offload, options.activations)
    words = {"machine": machine, "plan": plan, "resume": options.resume}
    done = (look if options.dry_run else run)(recipe, options.model, options.out, terminal_bar(), **words)
    if isinstance(done, Outlook):
        _say_outlook(done, recipe, options)
    elif done.report is None:
        _say_finished(done, options)
    elif options.json:
        print(json.dumps({"out": options.out, "dense": done.loaded.description.id, **done.report.as_dict()}))
    else:
        print(display.report_text(done.report, options.out))


def _request(options: argparse.Namespace) -> tuple[PruningConfig, Plan | None]:
    """The settings, and the plan if one is given, which then brings all settings with it."""
    given = {name: getattr(options, name) for name in SETTINGS if hasattr(options, name)}
    if options.plan is None:
        return PruningConfig(**given), None
    if given:
        name = next(iter(given)).replace("_", "-")
        raise RequestError(f"--plan brings its own settings with it: omit --{name}.")
    return read_record(read_json(options.plan))


def _say_outlook(done: Outlook, recipe: Recipe, options: argparse.Namespace) -> None:
    if not options.json:
        print(display.plan_text(done.plan, done.forecast))
        return
    description = done.loaded.description
    dense = {"id": description.id, "revision": description.revision}
    record = {"dry_run": True, "dense": dense, "config": recipe.config.as_dict(), "plan": done.plan.as_dict()}
    print(json.dumps(record | {"forecast": done.forecast.as_dict()}))


def _say_finished(done: Artifact, options: argparse.Namespace) -> None:
    """Says that there is nothing left to do."""
    if options.json:
        print(json.dumps({"out": options.out} | done.record | {"dense": done.record["dense"]["id"]}))
    else:
        print(f"{options.out} is complete: nothing was left to do.")
