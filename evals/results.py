"""results.json: what a run found, validated when it is written and when it is read, whole or absent on disk."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from evals.measurement import Measurement
from models.errors import RequestError
from models.files import read_json, write_json

SCHEMA_VERSION = 1
FILE_NAME = "results.json"

NUMBER = (int, float)
ABSENT = type(None)
# For every object its fields and their types; a field may only be null where ABSENT is among them.
DOCUMENT = {
    "schema_version": int,
    "created": str,
    "command": str,
    "environment": dict,
    "settings": dict,
    "models": list,
    "results": list,
    "notes": list,
}
MODEL = {
    "id": str,
    "revision": (str, ABSENT),
    "parameters": int,
    "nonzero_parameters": int,
    "bytes_in_memory": int,
    "bytes_if_packed": int,
    "bytes_on_disk": int,
}
RESULT = {
    "model": str,
    "baseline": (str, ABSENT),
    "group": str,
    "metric": str,
    "value": NUMBER,
    "unit": str,
    "stderr": (*NUMBER, ABSENT),
    "interval": (list, ABSENT),
    "n": int,
    "protocol": dict,
}


class InvalidResults(RequestError):
    """A results document that does not follow the schema; the text says where."""


@dataclass(frozen=True)
class Result:
    """One measurement of one model; `group` is the metric file it came from.

    With a `baseline` it compares the model with that one: a difference (neutral at 0), or a ratio in times (at 1).
    """

    model: str
    group: str
    measurement: Measurement
    baseline: str | None = None

    @property
    def neutral(self) -> float:
        """The value that means no difference, for a comparison."""
        return 1.0 if self.measurement.unit == "times" else 0.0

    def as_dict(self) -> dict:
        """The result as one entry of results.json."""
        return {"model": self.model, "baseline": self.baseline, "group": self.group} | self.measurement.as_dict()

    @staticmethod
    def from_dict(entry: dict) -> "Result":
        """The result of a validated entry."""
        fields = {key: entry[key] for key in ("metric", "value", "unit", "stderr", "n", "protocol")}
        interval = tuple(entry["interval"]) if entry["interval"] else None
        return Result(entry["model"], entry["group"], Measurement(interval=interval, **fields), entry["baseline"])


def write_results(folder: Path | str, document: dict) -> Path:
    """Validates the document and writes it as results.json in the folder; returns the file's path."""
    validate(document, FILE_NAME)
    path = Path(folder) / FILE_NAME
    write_json(path, document)
    return path


def read_results(path: Path | str) -> dict:
    """Reads and validates a results file, or the results.json of a folder.

    Raises RequestError for a missing or broken file, InvalidResults (a RequestError) for one of another form.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    document = read_json(path)
    validate(document, str(path))
    return document


def validate(document: Any, where: str) -> None:
    """Raises InvalidResults, naming the field, unless the document follows the schema."""
    if isinstance(document, dict) and document.get("schema_version") not in (None, SCHEMA_VERSION):
        found = document["schema_version"]
        raise InvalidResults(f"{where} has schema version {found!r}, this is version {SCHEMA_VERSION}: evaluate again.")
    _check(document, DOCUMENT, where)
    for at, model in enumerate(document["models"]):
        _check(model, MODEL, f"{where}, models[{at}]")
    known = [model["id"] for model in document["models"]]
    if len(set(known)) < len(known):
        raise InvalidResults(f"{where} lists a model twice: evaluate again.")
    for at, result in enumerate(document["results"]):
        place = f"{where}, results[{at}]"
        _check(result, RESULT, place)
        _check_spread(result, place)
        for name in (result["model"], result["baseline"]):
            if name is not None and name not in known:
                raise InvalidResults(f"{place} speaks of the model {name!r}, which is not listed: evaluate again.")


def _check(entry: Any, fields: dict, where: str) -> None:
    if not isinstance(entry, dict):
        raise InvalidResults(f"{where} is not an object: it is no results file of evals.")
    for field, types in fields.items():
        if field not in entry:
            raise InvalidResults(f"{where} lacks {field!r}: it is no results file of evals, or it was edited.")
        value = entry[field]
        if not isinstance(value, types) or isinstance(value, bool):
            raise InvalidResults(f"{where} has {value!r} for {field!r}: it was edited or damaged; evaluate again.")
        if isinstance(value, float) and not isfinite(value):
            raise InvalidResults(f"{where} has {value!r} for {field!r}, which is not finite: evaluate again.")


def _check_spread(result: dict, where: str) -> None:
    interval = result["interval"]
    if interval is None:
        return
    numbers = len(interval) == 2 and all(isinstance(end, NUMBER) and isfinite(end) for end in interval)
    if not numbers or interval[0] > interval[1]:
        raise InvalidResults(f"{where} has {interval!r} for 'interval', not two ordered numbers: evaluate again.")
