"""That a packed model answers as the one it was made of, and that its files can be read again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from models.console.progress import Progress
from models.errors import EspalierError
from pruning.packing.format import Format
from pruning.packing.install import Packing, pack
from pruning.saved.saving import PROMPT, TOLERANCE, compare_logits, last_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROOT = Path(__file__).resolve().parents[2]
INT8_TOLERANCE = 0.5  # that of a wrong layer is far more; what int8 costs is for `evals` to say


def pack_checked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    format: Format,
    progress: Progress | None = None,
    signed_zeros: bool = True,
) -> Packing:
    """Packs a model in place. EspalierError unless it then has the logits that it had."""
    ids = prompt_ids(tokenizer)
    before = last_logits(model, ids)
    packing = pack(model, format, progress, signed_zeros)
    tolerance = INT8_TOLERANCE if format.int8 else TOLERANCE.get(model.dtype, 1e-2)
    compare_logits(before, last_logits(model, ids), tolerance, "packed")
    return packing


def check_files(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Loads a packed folder in a fresh process. EspalierError if that fails or the logits are not those of `model`."""
    ids = prompt_ids(tokenizer)
    child = subprocess.run(
        [sys.executable, "-m", "pruning.packing.reload", str(Path(folder).resolve())],
        cwd=ROOT,
        input=json.dumps(ids),
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise EspalierError(f"The packed model could not be loaded again ({reason}): nothing was kept.")
    found = torch.tensor(json.loads(child.stdout.splitlines()[-1]))
    compare_logits(last_logits(model, ids), found, TOLERANCE.get(model.dtype, 1e-2))


def prompt_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the logits are compared after."""
    return tokenizer(PROMPT, add_special_tokens=False)["input_ids"][:32]
