"""The finished steps of a cell, in a file beside it until the cell is whole: a killed run goes on with them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.storage.files import read_json, write_json


class Kept:
    """Steps by name, each with the seconds that it took. Those of another protocol are forgotten."""

    def __init__(self, path: Path, protocol: dict):
        self.path = path
        found = read_json(path) if path.is_file() else {}
        same = found.get("protocol") == protocol
        self._document = found if same else {"protocol": protocol, "steps": {}}

    @property
    def protocol(self) -> dict:
        """What the steps were done under."""
        return self._document["protocol"]

    @property
    def seconds(self) -> dict[str, float]:
        """What each step took."""
        return {name: step["seconds"] for name, step in self._document["steps"].items()}

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """What a step found (JSON types): done and kept, unless it is kept already."""
        steps = self._document["steps"]
        if name not in steps:
            began = time.perf_counter()
            found = work()
            steps[name] = {"found": found, "seconds": round(time.perf_counter() - began, 2)}
            write_json(self.path, self._document)
        return steps[name]["found"]

    def found(self, name: str) -> dict:
        """What a step found; nothing if it was none of this cell's."""
        return self._document["steps"].get(name, {"found": {}})["found"]

    def clear(self) -> None:
        """Removes the file: the cell is whole."""
        self.path.unlink(missing_ok=True)
