"""The command `prune`: refuses what cannot work, loads, prunes, saves, and says what was done."""

import argparse
import dataclasses
import json
from functools import partial

import torch

from models import Loaded, load
from models.errors import EspalierError, RequestError
from models.files import read_json, refuse_existing
from models.policy import choose_device, choose_dtype
from models.progress import Progress, part, terminal_bar
from pruning import display, pipeline
from pruning.checkpoint import Checkpoint, differences, fingerprint, refuse_begun
from pruning.config import PruningConfig
from pruning.forecast import forecast
from pruning.packing.checking import check_files, pack_checked
from pruning.packing.folder import save_packed
from pruning.packing.format import Format
from pruning.plan import Plan
from pruning.record import finished_record
from pruning.replaying import check_fit, read_record
from pruning.roles import find_anatomy
from pruning.saving import record_of, save_pruned

SETTINGS = [field.name for field in dataclasses.fields(PruningConfig)]


def run(options: argparse.Namespace) -> None:
    """`prune`, with the options that `pruning.cli` parsed."""
    config, plan = _request(options)
    _format(options)
    if options.dry_run:
        _look(options, config, plan)
        return
    if options.out is None:
        raise RequestError("prune needs --out DIR, the folder to write (or --dry-run to only look).")
    if options.resume and (record := finished_record(options.out)):
        _finished(options, config, record)
        return
    refuse_existing(options.out)
    if not options.resume:
        refuse_begun(options.out)
    loaded, device = _load(options)
    checkpoint = Checkpoint(options.out, fingerprint(config, plan, loaded.description, device))
    try:
        _prune(options, config, plan, loaded, device, checkpoint)
    except (KeyboardInterrupt, EspalierError) as error:
        if not checkpoint.discard_unless_useful():
            raise
        why = str(error) or "Interrupted."
        raise EspalierError(f"{why} What is done is kept in {checkpoint.folder}: --resume goes on with it.") from error
    checkpoint.close()


def _request(options: argparse.Namespace) -> tuple[PruningConfig, Plan | None]:
    """The settings, and the plan if one is given, which then brings all settings with it."""
    given = {name: getattr(options, name) for name in SETTINGS if hasattr(options, name)}
    if options.plan is None:
        return PruningConfig(**given), None
    if given:
        name = next(iter(given)).replace("_", "-")
        raise RequestError(f"--plan brings its own settings with it: leave --{name} away.")
    return read_record(read_json(options.plan))


def _format(options: argparse.Namespace) -> Format | None:
    """The packed format that is asked for, None for a plain folder."""
    return None if options.pack is None else Format.parse(options.pack)


def _load(options: argparse.Namespace) -> tuple[Loaded, torch.device]:
    """The model, and where its blocks are computed."""
    device = choose_device(options.device)
    if not options.offload:
        return load(options.model, options.device, options.dtype), device
    if device.type == "cpu":
        raise RequestError("--offload has one block at a time on the GPU: there is none here, so leave it away.")
    dtype = str(choose_dtype(device, options.dtype)).removeprefix("torch.")
    return load(options.model, "cpu", dtype), device


def _look(options: argparse.Namespace, config: PruningConfig, plan: Plan | None) -> None:
    (model, tokenizer, description), device = _load(options)
    bar = terminal_bar()
    if plan is None:
        plan = pipeline.preview(model, tokenizer, config, progress=bar, device=device)
    check_fit(plan, find_anatomy(model))
    expected = forecast(model, config, plan, options.activations, device)
    bar(1.0, "Planned")
    if options.json:
        dense = {"id": description.id, "revision": description.revision}
        record = {"dry_run": True, "dense": dense, "config": config.as_dict(), "plan": plan.as_dict()}
        print(json.dumps(record | {"forecast": expected.as_dict()}))
    else:
        print(display.plan_text(plan, expected))


def _prune(
    options: argparse.Namespace,
    config: PruningConfig,
    plan: Plan | None,
    loaded: Loaded,
    device: torch.device,
    checkpoint: Checkpoint,
) -> None:
    model, tokenizer, description = loaded
    bar: Progress = terminal_bar()
    report = pipeline.prune(
        model,
        tokenizer,
        config,
        progress=part(bar, 0.0, 0.8 if options.pack else 0.9),
        plan=plan,
        checkpoint=checkpoint,
        activations=checkpoint.folder if options.activations == "disk" else None,
        device=device,
    )
    format = _format(options)
    if format is not None:
        report = dataclasses.replace(report, packing=pack_checked(model, tokenizer, format, part(bar, 0.8, 0.9)))
    bar(0.9, "Saving, and loading the result in a fresh process")
    if format is None:
        save_pruned(model, tokenizer, report, options.out, dense=description)
    else:
        record = record_of(model, report, description)
        save_packed(model, tokenizer, options.out, record, partial(check_files, model, tokenizer))
    bar(1.0, f"Saved to {options.out}")
    if options.json:
        print(json.dumps({"out": str(options.out), "dense": description.id, **report.as_dict()}))
    else:
        print(display.report_text(report, options.out))


def _finished(options: argparse.Namespace, config: PruningConfig, record: dict) -> None:
    """Says that there is nothing left to do. RequestError if what is there is the result of another request."""
    packed = str(_format(options)) if options.pack is not None else None
    asked = {"settings": config.as_dict(), "model": options.model, "packed": packed}
    there = {"settings": dict(record["config"]), "model": record["dense"]["id"]}
    there["packed"] = (record.get("packing") or {}).get("format")
    if config.sparsity is None:
        there["settings"]["sparsity"] = None  # what the budget came to
    if others := differences(there, asked):
        raise RequestError(f"{options.out} holds the finished result of another run ({others}): choose another folder.")
    Checkpoint.clear(options.out)
    if options.json:
        print(json.dumps({"out": str(options.out)} | record | {"dense": record["dense"]["id"]}))
    else:
        print(f"{options.out} is complete: nothing was left to do.")
