"""results.json: what a run found, validated when it is written and when it is read, whole or absent on disk.

`schema.json` describes the file (JSON Schema, draft 2020-12), and those that `evals.reporting.harness_export` makes of it.
"""

from dataclasses import asdict, dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.measurement import Measurement
from models.errors import RequestError
from models.storage.files import read_json, write_json

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

SCHEMA_VERSION = 1
FILE_NAME = "results.json"
SCHEMA = Path(__file__).parent / "schema.json"
# $defs of the schema
DOCUMENT, SWEEP, HARNESS_RESULTS, HARNESS_SAMPLE = "results", "sweep", "harness_results", "harness_sample"
LONGEST_SHOWN = 80  # characters of a wrong value that a complaint repeats


class InvalidResults(RequestError):
    """A results document that does not follow the schema; the text says where."""


@dataclass(frozen=True)
class PairedTest:
    """The test of a comparison: its name, the two-sided p, and p after Holm's correction over the tasks of the run.

    `smallest_difference` is the smallest true difference that the sample would show in four of five cases, in the
    comparison's unit. None where the sample does not tell.
    """

    name: str
    p: float | None
    smallest_difference: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Result:
    """One measurement of one model; `group` is the metric file it came from.

    With a `baseline` it compares the model with that one: a difference (neutral at 0), or a ratio in times (at 1),
    and `test` says how sure that is. `samples` is the file, beside results.json, with the answers it rests on.
    """

    model: str
    group: str
    measurement: Measurement
    baseline: str | None = None
    test: PairedTest | None = None
    samples: str | None = None

    @property
    def neutral(self) -> float:
        """The value that means no difference, for a comparison."""
        return 1.0 if self.measurement.unit == "times" else 0.0

    @property
    def task(self) -> str | None:
        """The task that was measured; None for what is of no task, such as memory."""
        return self.measurement.protocol.get("task")

    def as_dict(self) -> dict:
        """The result as one entry of results.json."""
        about = {"model": self.model, "baseline": self.baseline, "group": self.group}
        test = asdict(self.test) if self.test else None
        return about | self.measurement.as_dict() | {"test": test, "samples": self.samples}

    @staticmethod
    def from_dict(entry: dict) -> "Result":
        """The result of a validated entry."""
        fields = {key: entry[key] for key in ("metric", "value", "unit", "stderr", "n", "protocol")}
        interval = tuple(entry["interval"]) if entry["interval"] else None
        told = entry.get("test")
        test = PairedTest(told["name"], told["p"], told["smallest_difference"], told["p_holm"]) if told else None
        measurement = Measurement(interval=interval, **fields)
        return Result(entry["model"], entry["group"], measurement, entry["baseline"], test, entry.get("samples"))


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
    check(document, DOCUMENT, where)
    known = [model["id"] for model in document["models"]]
    if len(set(known)) < len(known):
        raise InvalidResults(f"{where} lists a model twice: evaluate again.")
    for at, result in enumerate(document["results"]):
        place = f"{where}, results[{at}]"
        _check_interval(result["interval"], place)
        for name in (result["model"], result["baseline"]):
            if name is not None and name not in known:
                raise InvalidResults(f"{place} speaks of the model {name!r}, which is not listed: evaluate again.")


def check(value: Any, definition: str, where: str) -> None:
    """Raises InvalidResults, naming the first wrong field, unless a value follows one of the schema's definitions."""
    try:
        from jsonschema.exceptions import best_match
    except ImportError:
        raise RequestError("Results are checked by jsonschema: pip install -r requirements.txt.") from None
    if error := best_match(_validator(definition).iter_errors(value)):
        raise InvalidResults(_complaint(error, where))
    _refuse_infinite(value, [], where)


@cache
def _validator(definition: str) -> "Draft202012Validator":
    from jsonschema import Draft202012Validator

    return Draft202012Validator(read_json(SCHEMA) | {"$ref": f"#/$defs/{definition}"})


def _complaint(error: "ValidationError", where: str) -> str:
    """One line: where the fault is, what it is, what to do."""
    path = list(error.absolute_path)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"{_place(where, path)} lacks {missing!r}: it is no results file of evals, or it was edited."
    shown = repr(error.instance)
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
    if error.validator == "type" and error.validator_value == "object" and (not path or isinstance(path[-1], int)):
        return f"{_place(where, path)} is not an object: it is no results file of evals."
    if not path:
        return f"{where} has {shown}, where {error.message[-LONGEST_SHOWN:]}: it was edited or damaged; evaluate again."
    return f"{_place(where, path[:-1])} has {shown} for {path[-1]!r}: it was edited or damaged; evaluate again."


def _place(where: str, path: list[str | int]) -> str:
    """`FILE, results[3].protocol`."""
    inner = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{where}, {inner.removeprefix('.')}" if path else where


def _refuse_infinite(value: Any, path: list[str | int], where: str) -> None:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_infinite(inner, [*path, key], where)
    elif isinstance(value, float) and not isfinite(value):
        if path[-2:-1] == ["interval"]:
            place = _place(where, path[:-2])
            raise InvalidResults(f"{place} has {value!r} in 'interval', not two ordered numbers: evaluate again.")
        place = _place(where, path[:-1])
        raise InvalidResults(f"{place} has {value!r} for {path[-1]!r}, which is not finite: evaluate again.")


def _check_interval(interval: list[float] | None, where: str) -> None:
    if interval is not None and (len(interval) != 2 or interval[0] > interval[1]):
        raise InvalidResults(f"{where} has {interval!r} for 'interval', not two ordered numbers: evaluate again.")
