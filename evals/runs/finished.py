"""Metrics that an unfinished run has finished, so that the same run, given again, does not measure them anew.

They lie beside what the run will write, and are gone when it is whole. Answers to single requests are in the cache
(`evals.asking.cache`); this is for timings and peaks of memory, which no cache can answer.
"""

import hashlib
import json
from pathlib import Path

from evals.runs.results import Result
from models.errors import EspalierError
from models.storage.files import read_json, write_json

FILE_NAME = "unfinished.json"


class Finished:
    """The finished metrics of the run in a folder; without a folder nothing is kept.

    `settings` are all that the figures depend on (JSON types): what another run left there is ignored. `path` is the
    file, None without a folder.
    """

    def __init__(self, out: Path | None, settings: dict):
        self.path = out / FILE_NAME if out else None
        self._run = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self._metrics: dict[str, dict] = self._read()

    def find(self, metric: str) -> tuple[list[Result], list[str]] | None:
        """The results and notes of a finished metric, or None."""
        if metric not in self._metrics:
            return None
        kept = self._metrics[metric]
        return [Result.from_dict(entry) for entry in kept["results"]], kept["notes"]

    def keep(self, metric: str, results: list[Result], notes: list[str]) -> None:
        """Writes down a metric that is done."""
        self._metrics[metric] = {"results": [result.as_dict() for result in results], "notes": notes}
        if self.path:
            write_json(self.path, {"run": self._run, "metrics": self._metrics})

    def clear(self) -> None:
        """Removes the file: the run is whole."""
        if self.path:
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict:
        if not self.path or not self.path.exists():
            return {}
        try:
            kept = read_json(self.path)
        except EspalierError:  # cut off by hand or by a broken disk: measure again
            return {}
        return kept["metrics"] if isinstance(kept, dict) and kept.get("run") == self._run else {}
