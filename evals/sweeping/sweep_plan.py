"""Everything that a sweep will do, checked before anything is written: its cells, and the job of each."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from evals import task
from evals.asking.fingerprint import fingerprint
from evals.environment import processor
from evals.runs import measures
from evals.sweeping.cell_folder import WORKSPACE, CellFolder, made_of
from evals.sweeping.engines import Job
from evals.sweeping.grid import Cell, Grid
from evals.sweeping.inputs import Inputs
from evals.text_losses.data import load_text
from models.errors import RequestError
from models.formats.checking import check_folder, check_tokenizer, check_weights
from models.formats.hub import WANTED
from models.policy import choose_device, choose_dtype
from models.source import ModelSource, locate
from models.storage.contents import SMALL
from models.storage.destination import try_files
from models.storage.reading import user_path
from models.text.columns import parse_columns
from pruning.calibration import find_source
from pruning.calibration.file import File

FILE_NAME = "sweep.json"
CELLS, MODELS = "cells", "models"
TIMED = ("speed", "growth")  # metrics that other programs on the machine disturb


@dataclass(frozen=True)
class Request:
    """What a sweep is asked for; paths are as they were typed. See `evals.runs.run.evaluate_models` for the measuring."""

    models: Sequence[str]
    grid: Grid
    out: Path
    metrics: Sequence[str] = ("perplexity",)
    tasks: Sequence[str] = ()
    source: Path | str | None = None
    limit: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    data: str = "embedded"
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False
    device: str = "auto"
    dtype: str = "auto"
    cache: Path | str | None = "default"
    keep_models: bool = False

    def as_dict(self) -> dict:
        """The request as JSON types."""
        asked = {name: value for name, value in asdict(self).items() if name not in ("grid", "out", "cache")}
        return json.loads(json.dumps(asdict(self.grid) | asked, default=str))


@dataclass(frozen=True)
class Planned:
    """One cell with its folder, its job, and the settings that its results are of."""

    cell: Cell
    folder: CellFolder
    job: Job
    settings: dict
    whole: bool


@dataclass(frozen=True)
class Plan:
    """All cells, and the models: what they are called in the results, how they were named, their fingerprints."""

    planned: list[Planned]
    models: list[dict]
    metrics: list[str]


@dataclass(frozen=True)
class _Measuring:
    """The measuring of every cell: the arguments, what they come to, and the inputs that it reads."""

    arguments: dict
    settings: dict
    inputs: list[str]
    metrics: list[str]


def make_plan(request: Request, resume: bool, command: str) -> Plan:
    """The plan of a sweep. Nothing is written.

    RequestError for every mistake in the request, and for a folder that holds a sweep already, unless it is to be gone
    on with; with `resume` cells that are whole, and of the same settings, are marked so.
    """
    inputs = Inputs()
    names = {model: _named(inputs, model) for model in request.models}
    if len(names) < len(request.models):
        raise RequestError("A model is named twice: name every model once.")
    calibration, columns = request.grid.calibration, parse_columns(request.grid.columns)
    text = find_source(calibration).identity(calibration, columns)  # tells at once if it is missing
    grid = replace(request.grid, calibration=_calibration(inputs, calibration))
    cells = grid.cells(list(names.values()))
    _check_folder(request.out, resume, cells)
    machine = _machine(request)
    measuring = _measuring(inputs, request, command)
    sources = {name: _checked(model) for model, name in names.items()}
    prints = {name: fingerprint(source, request.dtype, request.device) for name, source in sources.items()}
    planned = []
    for cell in cells:
        read = measuring.inputs + ([grid.calibration] if cell.config else [])
        pruning = cell.config.as_dict() if cell.config else None
        keep = request.keep_models and cell.config is not None
        asked = {"name": cell.name, "model": cell.model, "fingerprint": prints[cell.model], "pruning": pruning}
        asked |= {"check": keep, "evaluation": measuring.arguments}
        settings = {"model": cell.model, "model_and_libraries": prints[cell.model][:16], "pruning": pruning}
        settings |= {"calibration": text if cell.config else None, "machine": machine}
        settings |= {"evaluation": measuring.settings, "inputs": inputs.digests(read)}
        settings = json.loads(json.dumps(settings))
        asked["identity"] = made_of(settings)
        kept = request.out / MODELS / cell.name if keep else None
        folder = CellFolder(request.out / CELLS / cell.name, kept)
        whole = folder.check(settings)
        files = inputs.files([cell.model, *read])
        job = Job(cell.name, asked, files, folder.path, folder.workspace, keep)
        planned.append(Planned(cell, folder, job, settings, whole))
    models = [{"id": name, "path": model, "fingerprint": prints[name]} for model, name in names.items()]
    return Plan(planned, models, measuring.metrics)


def _named(inputs: Inputs, model: str) -> str:
    """What a model is called in the results: a folder by its name, others as they were named."""
    folder = user_path(model)
    if model == "embedded" or not folder.is_dir():
        return model
    wanted = {path for pattern in (*WANTED, *SMALL) for path in folder.glob(pattern)}
    return inputs.add_folder(folder, sorted(str(path.relative_to(folder)) for path in wanted))


def _calibration(inputs: Inputs, calibration: str) -> str:
    is_file = isinstance(find_source(calibration), File)
    return inputs.add_file(Path(calibration).expanduser()) if is_file else calibration


def _check_folder(out: Path, resume: bool, cells: Sequence[Cell]) -> None:
    measures.refuse_taken(out)
    new = [cell.name for cell in cells if not (out / CELLS / cell.name).exists()]
    if longest := max(new, key=lambda name: len(os.fsencode(name)), default=None):
        try_files(out / CELLS / longest / WORKSPACE, longest)  # where the model is made
    begun = (out / CELLS).is_dir() and any((out / CELLS).iterdir())
    if not resume and (begun or (out / FILE_NAME).exists()):
        raise RequestError(
            f"{out} holds a sweep already: add --resume to go on with it, or choose another folder. Nothing was done."
        )


def _machine(request: Request) -> dict:
    """What the cells are computed by, as far as this machine can tell. RequestError for names that no machine knows."""
    if request.device == "cuda" and not torch.cuda.is_available():  # another machine may have one
        choose_dtype(torch.device("cpu"), request.dtype)
        return {"device": "cuda", "dtype": request.dtype}
    device = choose_device(request.device)
    dtype = str(choose_dtype(device, request.dtype)).removeprefix("torch.")
    return {"device": processor(device), "dtype": dtype}


def _measuring(inputs: Inputs, request: Request, command: str) -> _Measuring:
    metrics, tasks, source, _ = measures.choose(
        list(request.metrics), request.tasks, request.source, request.limit, request.columns, request.options
    )
    text = load_text(request.data)
    shipped = task.names()
    asked = [name if name in shipped else inputs.add_file(name) for name in request.tasks]
    data = inputs.add_file(request.data) if Path(request.data).expanduser().is_file() else request.data
    files = sorted({file for each in tasks for file in each.files})
    below = inputs.add_folder(source, files) if source is not None and files else None
    cache = request.cache
    if cache is not None:
        cache = "default" if cache == "default" else os.path.abspath(Path(cache).expanduser())
    arguments = {
        "metrics": list(request.metrics), "tasks": asked, "source": below, "limit": request.limit,
        "columns": dict(request.columns), "data": data, "options": dict(request.options), "quick": request.quick,
        "device": request.device, "dtype": request.dtype, "seed": request.grid.seed, "cache": cache, "command": command,
    }  # fmt: skip
    told = {name: value for name, value in arguments.items() if name not in ("cache", "command")}
    told |= {"data": {"id": text.id, "sha256": text.sha256}, "tasks": {each.name: each.digest for each in tasks}}
    return _Measuring(arguments, told, [*asked, data, *([below] if below else [])], [metric.name for metric in metrics])


def _checked(model: str) -> ModelSource:
    """A model's files, fetched if they are not here. RequestError unless they are whole and of a known family."""
    source = locate(model)
    if source.base and not os.path.isabs(source.base) and Path(source.base).is_dir():
        raise RequestError(
            f"{model} is an adapter whose base is named by the path {source.base}, which cells, that run in folders of "
            "their own, would not find: name the whole path in its adapter_config.json, or merge it and save the model."
        )
    check_folder(source)
    check_tokenizer(source)
    check_weights(source)
    return source


def refuse_disturbed(metrics: Sequence[str], alone: bool) -> None:
    """RequestError if times are to be measured where several cells share a machine."""
    timed = [name for name in metrics if name in TIMED]
    if timed and not alone:
        raise RequestError(
            f"{timed[0]} measures times, which cells beside each other on one machine would disturb: "
            "leave it out of --metrics, or use --workers 1."
        )
