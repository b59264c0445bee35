"""`pruning.json`: the record that lies beside the weights of a pruned model."""

from pathlib import Path

from models.files import read_json

RECORD = "pruning.json"


def finished_record(out: Path | str) -> dict | None:
    """What `pruning.json` of the folder `out` says; None if there is none: an unfinished folder has another name."""
    file = Path(out) / RECORD
    return read_json(file) if file.is_file() else None
