"""`pruning.json`: the record that lies beside the weights of a pruned model."""

from pathlib import Path

from models.errors import RequestError
from models.storage.reading import is_there, parse_object

RECORD = "pruning.json"
WHOLE = ("created", "dense", "config", "note", "plan")  # what every record has
NAME = {"type": ["string", "null"]}
INDICES = {"type": "array", "items": {"type": "integer"}}
# Of what is read again here and in evals; the rest of a record is for people.
SCHEMA = {
    "properties": {
        "created": {"type": "string"},
        "note": {"type": "string"},
        "dense": {"type": ["object", "null"], "properties": {"id": NAME, "revision": NAME}},
        "config": {"type": ["object", "null"]},
        "identity": {"type": ["object", "null"]},
        "calibration": {
            "type": ["object", "null"],
            "properties": {"source": {"type": "string"}, "sketch": {"type": "object"}},
        },
        "plan": {
            "type": "object",
            "properties": {
                "blocks": {
                    "type": ["object", "null"],
                    "required": ["kept", "removed"],
                    "properties": {"kept": INDICES, "removed": INDICES},
                },
                "projections": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "dropped"],
                        "properties": {"name": {"type": "string"}, "dropped": {"type": "integer"}},
                    },
                },
            },
            "required": ["blocks", "projections"],
        },
    }
}


def finished_record(out: Path | str) -> dict | None:
    """What `pruning.json` of the folder `out` says; None if there is none: an unfinished folder has another name.

    RequestError, naming the file, if it cannot be read or holds something else than a record, even if only in part.
    """
    file = Path(out) / RECORD
    if not is_there(file):
        return None
    record = parse_object(file, "remove it to go on")
    from jsonschema import Draft202012Validator

    if error := next(Draft202012Validator(SCHEMA).iter_errors(record), None):
        place = ".".join(map(str, error.absolute_path))
        raise RequestError(f"{file} is no record of a pruning (its {place}: {error.message:.120}): remove it to go on.")
    return record


def whole_record(folder: Path | str) -> dict | None:
    """As `finished_record`; RequestError, too, for a record that lacks any of what every one has."""
    record = finished_record(folder)
    if record is not None and (missing := sorted(set(WHOLE) - set(record))):
        raise RequestError(
            f"{Path(folder) / RECORD} is no record of a pruning (it lacks {', '.join(missing)}): remove it to go on."
        )
    return record
