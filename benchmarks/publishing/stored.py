"""The stored results that blocks are made of."""

from pathlib import Path

from models.storage.files import read_json

RESULTS = Path(__file__).parent.parent / "results"


def document(name: str) -> dict:
    """The results of the benchmark of this name. RequestError if they are not there."""
    return read_json(RESULTS / name / "results.json")
