"""A recipe and a model in, an artifact out: what every way to prune comes to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models import Loaded
from models.console.progress import Progress, part, silent
from models.errors import EspalierError, reason
from models.precision import computing_in
from pruning import pipeline
from pruning.anatomy.depth import Depth
from pruning.anatomy.roles import find_anatomy
from pruning.forecast import Forecast, forecast
from pruning.packing.checking import check_files, pack_checked
from pruning.packing.folder import save_packed
from pruning.report import Report
from pruning.running.artifact import Artifact
from pruning.running.recipe import Recipe
from pruning.running.session import Machine, Session, open_session
from pruning.saved.checkpoint import Checkpoint
from pruning.saved.identity import reads_text
from pruning.saved.replaying import check_fit
from pruning.saved.saving import record_of, save_pruned

if TYPE_CHECKING:
    from pruning.plan import Plan

SOLVED, PACKED = 0.8, 0.9  # of the progress


@dataclass(frozen=True)
class Outlook:
    """What a run would do, and take."""

    loaded: Loaded
    plan: Plan
    forecast: Forecast


def run(
    recipe: Recipe,
    source: str | Loaded,
    out: Path | str | None = None,
    progress: Progress | None = None,
    *,
    machine: Machine | None = None,
    plan: Plan | None = None,
    resume: bool = False,
    made_of: dict | None = None,
) -> Artifact:
    """Does what the recipe says to `source`, a MODEL, and saves the result to the folder `out`, whole or not at all.

    A model in memory (`Loaded`) is changed in place and not saved. `progress` may raise `Cancelled`. `plan` is one made
    before for this model. With `resume` an unfinished run goes on after the last finished block, and a finished one is
    recognised. `made_of` takes the place of what the result depends on, in its record; such a run keeps nothing to go on with.

    Raises RequestError if the request does not fit, EspalierError if the run fails; what is kept is then said.
    """
    session = open_session(recipe, source, out, machine or Machine(), plan, resume, made_of)
    if session.finished is not None:
        Checkpoint.clear(session.out)
        return Artifact(session.loaded, None, recipe, session.out, session.finished)
    if session.checkpoint is None:
        return _go(session, progress or silent)
    try:
        made = _go(session, progress or silent)
    except (KeyboardInterrupt, Exception) as error:
        if not session.checkpoint.discard_unless_useful():
            raise
        raise EspalierError(
            f"{reason(error)} What is done is kept in {session.checkpoint.folder}: --resume goes on with it."
        ) from error
    session.checkpoint.close()
    return made


def look(
    recipe: Recipe,
    source: str,
    out: Path | str | None = None,
    progress: Progress | None = None,
    *,
    machine: Machine | None = None,
    plan: Plan | None = None,
    resume: bool = False,
) -> Outlook | Artifact:
    """The plan and a forecast, and every refusal that the run itself would come to; nothing is written.

    The artifact of a run that is finished, if `resume` asks for one.
    """
    machine, progress = machine or Machine(), progress or silent
    session = open_session(recipe, source, out, machine, plan, resume, None, dry=True)
    if session.finished is not None:
        return Artifact(session.loaded, None, recipe, session.out, session.finished)
    config, (model, tokenizer, _) = recipe.config, session.loaded
    words = {"progress": progress, "device": session.device, "computed": session.computed}
    # Text that the model writes itself takes long, and can be neither missing nor damaged.
    if reads_text(config, plan) and config.calibration != "self":
        pipeline.try_text(model, tokenizer, config, **words)
    plan = plan or pipeline.preview(model, tokenizer, config, **words)
    check_fit(plan, find_anatomy(model))
    if plan.blocks:
        Depth(model, plan.blocks.count).changes(plan.blocks.kept)
    with computing_in(model, session.computed):
        expected = forecast(model, config, plan, machine.activations, session.device)
    progress(1.0, "Planned")
    return Outlook(session.loaded, plan, expected)


def _go(session: Session, progress: Progress) -> Artifact:
    recipe, (model, tokenizer, _) = session.recipe, session.loaded
    packs, saves = recipe.pack is not None, session.out is not None
    solved = SOLVED if packs and saves else PACKED if packs or saves else 1.0
    report = pipeline.prune(
        model,
        tokenizer,
        recipe.config,
        progress=part(progress, 0.0, solved),
        undoable=False,
        plan=session.plan,
        checkpoint=session.checkpoint,
        activations=session.activations,
        device=session.device,
        computed=session.computed,
    )
    if packs:
        share = part(progress, solved, PACKED if saves else 1.0)
        report = dataclasses.replace(report, packing=pack_checked(model, tokenizer, recipe.pack, share))
    if saves:
        _save(session, report, progress)
    return Artifact(session.loaded, report, recipe, session.out)


def _save(session: Session, report: Report, progress: Progress) -> None:
    """Saves the result and reads it again in a fresh process, if the recipe says so."""
    recipe, (model, tokenizer, description) = session.recipe, session.loaded
    progress(PACKED, "Saving, and loading the result in a fresh process" if recipe.verify else "Saving")
    about = {"dense": description, "identity": session.identity, "recipe": recipe.as_dict()}
    if recipe.pack is None:
        save_pruned(model, tokenizer, report, session.out, check=recipe.verify, **about)
    else:
        check = partial(check_files, model, tokenizer) if recipe.verify else None
        save_packed(model, tokenizer, session.out, record_of(model, report, **about), check)
    progress(1.0, f"Saved to {session.out}")
