"""The command `prune`: refuses what cannot work, loads, prunes, saves, and says what was done."""

import argparse
import dataclasses
import json
from functools import partial

import torch

from models import Loaded
from models.errors import EspalierError, RequestError, reason
from models.files import read_json
from models.policy import choose_device
from models.precision import computing_in
from models.progress import Progress, part, terminal_bar
from pruning import display, pipeline
from pruning.checkpoint import Checkpoint, refuse_begun, try_out
from pruning.config import PruningConfig
from pruning.dense import load_dense
from pruning.depth import Depth
from pruning.forecast import forecast
from pruning.identity import calibration_identity, check_finished, identity, reads_text
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
    """`prune`, with the options that `pruning.cli` parsed. What can be refused is refused before the model is loaded."""
    config, plan = _request(options)
    format = _format(options)
    text = calibration_identity(config, plan)
    record = _check_out(options)
    loaded, device, computed = _load(options)
    made_of = identity(config, plan, loaded.description, device, text, computed)
    whole = made_of | {"packed": None if format is None else str(format)}
    if record is not None:
        check_finished(options.out, record, whole)
        _finished(options, record)
    elif options.dry_run:
        _look(options, config, plan, loaded, device, computed, made_of)
    else:
        _go(options, config, plan, loaded, device, computed, made_of, whole)


def _check_out(options: argparse.Namespace) -> dict | None:
    """RequestError unless the result can be written; the record of one that is there already, to go on with."""
    if options.out is None:
        if options.dry_run:
            return None
        raise RequestError("prune needs --out DIR, the folder to write (or --dry-run to only look).")
    if options.resume and (record := finished_record(options.out)) is not None:
        return record
    try_out(options.out)
    if not options.resume:
        refuse_begun(options.out)
    return None


def _go(
    options: argparse.Namespace,
    config: PruningConfig,
    plan: Plan | None,
    loaded: Loaded,
    device: torch.device,
    computed: torch.dtype | None,
    made_of: dict,
    whole: dict,
) -> None:
    """Prunes and saves. What fails after something was done says where that is kept."""
    checkpoint = Checkpoint(options.out, made_of)
    try:
        _prune(options, config, plan, loaded, device, computed, checkpoint, whole)
    except (KeyboardInterrupt, Exception) as error:
        if not checkpoint.discard_unless_useful():
            raise
        raise EspalierError(
            f"{reason(error)} What is done is kept in {checkpoint.folder}: --resume goes on with it."
        ) from error
    checkpoint.close()


def _request(options: argparse.Namespace) -> tuple[PruningConfig, Plan | None]:
    """The settings, and the plan if one is given, which then brings all settings with it."""
    given = {name: getattr(options, name) for name in SETTINGS if hasattr(options, name)}
    if options.plan is None:
        return PruningConfig(**given), None
    if given:
        name = next(iter(given)).replace("_", "-")
        raise RequestError(f"--plan brings its own settings with it: omit --{name}.")
    return read_record(read_json(options.plan))


def _format(options: argparse.Namespace) -> Format | None:
    """The packed format that is asked for, None for a plain folder."""
    return None if options.pack is None else Format.parse(options.pack)


def _load(options: argparse.Namespace) -> tuple[Loaded, torch.device, torch.dtype | None]:
    """The model, where its blocks are computed, and in which dtype (None: in the model's)."""
    device = choose_device(options.device)
    if options.offload and device.type == "cpu":
        raise RequestError("--offload needs a GPU: none was found. Omit it.")
    loaded, computed = load_dense(options.model, options.device, options.dtype, "cpu" if options.offload else None)
    return loaded, device, computed


def _look(
    options: argparse.Namespace,
    config: PruningConfig,
    plan: Plan | None,
    loaded: Loaded,
    device: torch.device,
    computed: torch.dtype | None,
    made_of: dict,
) -> None:
    """`--dry-run`: the plan and a forecast, and every refusal that the run itself would come to."""
    model, tokenizer, description = loaded
    bar = terminal_bar()
    if options.out is not None and options.resume:
        Checkpoint(options.out, made_of)
    # Text that the model writes itself takes long, and can be neither missing nor damaged.
    if reads_text(config, plan) and config.calibration != "self":
        pipeline.try_text(model, tokenizer, config, progress=bar, device=device, computed=computed)
    if plan is None:
        plan = pipeline.preview(model, tokenizer, config, progress=bar, device=device, computed=computed)
    check_fit(plan, find_anatomy(model))
    if plan.blocks:
        Depth(model, plan.blocks.count).changes(plan.blocks.kept)
    with computing_in(model, computed):
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
    computed: torch.dtype | None,
    checkpoint: Checkpoint,
    whole: dict,
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
        computed=computed,
    )
    format = _format(options)
    if format is not None:
        report = dataclasses.replace(report, packing=pack_checked(model, tokenizer, format, part(bar, 0.8, 0.9)))
    bar(0.9, "Saving, and loading the result in a fresh process")
    if format is None:
        save_pruned(model, tokenizer, report, options.out, dense=description, identity=whole)
    else:
        record = record_of(model, report, description, whole)
        save_packed(model, tokenizer, options.out, record, partial(check_files, model, tokenizer))
    bar(1.0, f"Saved to {options.out}")
    if options.json:
        print(json.dumps({"out": str(options.out), "dense": description.id, **report.as_dict()}))
    else:
        print(display.report_text(report, options.out))


def _finished(options: argparse.Namespace, record: dict) -> None:
    """Says that there is nothing left to do."""
    Checkpoint.clear(options.out)
    if options.json:
        print(json.dumps({"out": str(options.out)} | record | {"dense": record["dense"]["id"]}))
    else:
        print(f"{options.out} is complete: nothing was left to do.")
