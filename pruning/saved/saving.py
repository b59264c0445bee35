"""Saves a pruned model as a plain Hugging Face folder, which takes its name only after a fresh process has read it."""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.console.quiet import quiet_transformers
from models.counting import count_nonzero
from models.description import Description
from models.errors import EspalierError
from models.storage.files import new_folder, write_json
from pruning.anatomy.roles import find_anatomy
from pruning.report import Report
from pruning.saved.record import RECORD

SCHEMA_VERSION = 1
CHECK = Path(__file__).with_name("reload_check.py")
PROMPT = "The gardener ties the young branches to the wall and cuts what grows away from it."
# How far the logits may differ, as a share of their norm: the same numbers on the same device, or on another one.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def save_pruned(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    report: Report,
    out: Path | str,
    dense: Description | None = None,
    check: bool = True,
    identity: dict | None = None,
    recipe: dict | None = None,
) -> None:
    """Writes the model, its tokenizer and `pruning.json` to the folder `out`, whole or not at all.

    Before the folder takes its name a process that imports only torch and transformers loads it, on the CPU, and
    must find the same logits and the same zeros; without `check`, for a folder that is read and dropped, it does not.
    `dense` describes the model that was pruned, for the record; `identity` is all that the result depends on, `recipe`
    what can be replayed.

    Raises RequestError if `out` holds anything already, EspalierError if writing or the check fails.
    """
    with new_folder(out) as folder:
        with quiet_transformers():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        write_json(folder / RECORD, record_of(model, report, dense, identity, recipe))
        if check:
            check_reload(model, tokenizer, folder)


def check_reload(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Loads `folder` in a fresh process and compares logits and zero counts with `model`.

    Raises EspalierError if the process fails or finds another model.
    """
    ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"][:32]
    names = list(dict.fromkeys(projection.parameter_name for projection in find_anatomy(model).projections))
    request = json.dumps({"ids": ids, "names": names})
    child = subprocess.run(
        [sys.executable, "-c", CHECK.read_text(encoding="utf-8")],
        cwd=folder,
        input=request,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise EspalierError(f"The saved model could not be loaded again ({reason}): nothing was kept.")
    answer = json.loads(child.stdout.splitlines()[-1])
    found = answer["zeros"]
    for name in names:
        weight = model.get_parameter(name)
        zeros = weight.numel() - count_nonzero(weight)
        if found.get(name) != zeros:
            raise EspalierError(
                f"The saved model has {found.get(name)} zeros in {name} and the pruned one {zeros}: nothing was kept."
            )
    compare_logits(last_logits(model, ids), torch.tensor(answer["logits"]), TOLERANCE.get(model.dtype, 1e-2))


@torch.no_grad()
def last_logits(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """The logits [V] after the last of these tokens, on the CPU, in float32."""
    training = model.training
    model.eval()
    inputs = torch.tensor([ids], device=next(model.parameters()).device)
    logits = model(input_ids=inputs, use_cache=False).logits[0, -1].float().cpu()
    model.train(training)
    return logits


def compare_logits(expected: torch.Tensor, found: torch.Tensor, tolerance: float, deed: str = "loaded again") -> None:
    """Raises EspalierError unless the logits differ by at most `tolerance` of their norm. `deed`: what came between."""
    if not bool(expected.isfinite().all()):
        raise EspalierError("The pruned model's output is not finite: prune less, or use --dtype float32.")
    if expected.shape == found.shape:
        difference = float((expected - found).norm() / expected.norm().clamp_min(1e-12))
        if difference <= tolerance:
            return
    else:
        difference = float("inf")
    raise EspalierError(
        f"The model answers differently once {deed} (its logits differ by {difference:.2g}): nothing was kept."
    )


def record_of(
    model: PreTrainedModel,
    report: Report,
    dense: Description | None = None,
    identity: dict | None = None,
    recipe: dict | None = None,
) -> dict:
    """What `pruning.json` says. `identity`: see `pruning.saved.identity`; by it --resume knows the result again.

    `recipe`: see `pruning.running.recipe`; `python -m pruning run` does it again.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "dense": {
            "id": dense.id if dense else model.config._name_or_path,
            "revision": dense.revision if dense else getattr(model.config, "_commit_hash", None),
            **({"notes": list(dense.notes)} if dense and dense.notes else {}),
        },
        "identity": identity,
        "recipe": recipe,
        **report.as_dict(),
    }
