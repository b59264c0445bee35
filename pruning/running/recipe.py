"""A recipe: all that is done to a model, stage by stage, as it is written in YAML, recorded, and replayed.

    stages:
    - calibrate: {calibration: embedded, samples: 128}
    - allocate: {sparsity: 0.5}
    - solve: {method: wanda}          # or cut: {structure: layers}
    - recover: {recover: reconstruct}
    - pack: {format: int8}
    - save:
    - verify:

What a stage does not say has the defaults of `PruningConfig`; a stage that is not there does nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from models.errors import RequestError
from models.storage.reading import reading
from pruning.config import PruningConfig
from pruning.packing.format import Format

STAGES = {  # in the order in which they run, each with the settings that it takes
    "calibrate": ("calibration", "columns", "samples", "sequence_length", "seed"),
    "allocate": ("sparsity", "budget", "allocation"),
    "solve": ("method", "pattern", "solver", "schedule", "match"),
    "cut": ("structure", "method"),
    "recover": ("recover", "recover_minutes"),
    "pack": ("format",),
    "save": (),
    "verify": (),
}
ZEROS, PARTS = "solve", "cut"  # one of them, as the structure says
DEFAULTS = {field.name: field.default for field in fields(PruningConfig)}
LARGEST = 1 << 20  # bytes of a file that can be a recipe


@dataclass(frozen=True)
class Recipe:
    """The settings of the pruning, the packed format (None: a plain folder), and whether the saved files are read again.

    Equal recipes make equal models of equal models.
    """

    config: PruningConfig
    pack: Format | None = None
    verify: bool = True

    def as_dict(self) -> dict[str, Any]:
        """As JSON types: the stages in their order, each with what differs from its defaults, and its method's name."""
        whole = self.config.as_dict()
        cuts = self.config.structure != "none"
        told = whole if cuts else {name: value for name, value in whole.items() if name != "structure"}
        stages: list[dict[str, dict]] = []
        for stage, names in STAGES.items():
            if stage == (ZEROS if cuts else PARTS):
                continue
            said = {name: told[name] for name in names if name in told and _is_said(name, told[name])}
            if stage in (ZEROS, PARTS) or said:
                stages.append({stage: said})
            elif stage == "pack" and self.pack is not None:
                stages.append({stage: {"format": str(self.pack)}})
            elif stage == "save" or (stage == "verify" and self.verify):
                stages.append({stage: {}})
        return {"stages": stages}

    def to_yaml(self, model: str | None = None) -> str:
        """As it is written in a file, for any model or for one."""
        import yaml

        document = ({} if model is None else {"model": model}) | self.as_dict()
        return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=110)

    @staticmethod
    def from_dict(document: Any) -> Recipe:
        """The recipe of `as_dict`. RequestError, with the stage and what is wrong, for anything else."""
        if not isinstance(document, dict) or not isinstance(document.get("stages"), list):
            raise RequestError("A recipe is a mapping with a list of `stages`: see docs/pruning.md.")
        if unknown := [key for key in document if key not in ("stages", "model")]:
            raise RequestError(f"A recipe has `stages` and may name a `model`, but no {unknown[0]!r}: remove it.")
        found: dict[str, dict] = {}
        for entry in document["stages"]:
            name, settings = _stage(entry)
            if name in found:
                raise RequestError(f"The recipe names the stage {name} twice: name it once.")
            if found and list(STAGES).index(next(reversed(found))) > list(STAGES).index(name):
                raise RequestError(f"The stage {name} comes too late: the order is {', '.join(STAGES)}.")
            found[name] = settings
        if (ZEROS in found) == (PARTS in found):
            raise RequestError(f"A recipe has one stage {ZEROS} or {PARTS}: name one of them.")
        if "save" not in found:
            raise RequestError("The recipe has no stage save: add `- save`, without which nothing is kept.")
        if PARTS in found and "structure" not in found[PARTS]:
            raise RequestError("The stage cut must name a structure, such as layers.")
        packing = found.pop("pack", None)
        verify = found.pop("verify", None) is not None
        given = {name: value for settings in found.values() for name, value in settings.items()}
        format = None if packing is None else Format.parse(str(packing.get("format", "auto")))
        return Recipe(PruningConfig(**given), format, verify)

    @staticmethod
    def read(path: Path | str) -> tuple[Recipe, str | None]:
        """The recipe of a YAML file or a `pruning.json`, and the MODEL that it is for, if it names one.

        RequestError, naming the file, if it is none.
        """
        import yaml

        file = Path(path).expanduser()
        if not file.is_file():
            raise RequestError(f"There is no file {path}: name a recipe, a YAML file with a list of `stages`.")
        if file.stat().st_size > LARGEST:
            raise RequestError(f"{path} is too large to be a recipe: name a YAML file with a list of `stages`.")
        try:
            with reading(file):
                document = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RequestError(f"{path} is no YAML ({' '.join(str(error).split())}): mend it.") from None
        if isinstance(document, dict) and "recipe" in document:  # a pruning.json, which is YAML as well
            dense = document.get("dense")
            document = document["recipe"]
            model = dense.get("id") if isinstance(dense, dict) else None
        else:
            model = document.get("model") if isinstance(document, dict) else None
        if not isinstance(model, str | None):
            raise RequestError(f"{path}: `model` must be a name in quotes, not {json.dumps(model, default=str)}.")
        try:
            return Recipe.from_dict(document), model
        except RequestError as error:
            raise RequestError(f"{path}: {error}") from None


def _is_said(name: str, value: Any) -> bool:
    """Whether a setting is written down: what differs from the default, and what decides most."""
    return name in ("method", "sparsity", "structure") or value != DEFAULTS[name]


def _stage(entry: Any) -> tuple[str, dict]:
    """The name and settings of one entry of `stages`, which may be a bare name."""
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise RequestError(f"A stage is written `name: {{setting: value}}`, not {json.dumps(entry, default=str)}.")
    ((name, settings),) = entry.items()
    if name not in STAGES:
        raise RequestError(f"Unknown stage {name!r}: use one of {', '.join(STAGES)}.")
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        raise RequestError(f"The settings of the stage {name} are a mapping, not {json.dumps(settings, default=str)}.")
    if unknown := [key for key in settings if key not in STAGES[name]]:
        known = ", ".join(STAGES[name]) or "none"
        raise RequestError(f"The stage {name} has no setting {unknown[0]!r}: it has {known}.")
    return name, settings
