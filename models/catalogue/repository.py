"""A repository of the Hub, downloaded by a child process that can be ended at once and leaves what came for a next try.

As a program, `python -m models.catalogue.repository NAME REPO REVISION` is that process.
"""

import argparse
import os
import sys
from pathlib import Path

from models.catalogue.child import watch
from models.catalogue.entry import Hub
from models.catalogue.growing import file_sizes
from models.console.command import finish
from models.console.progress import Progress
from models.console.stopping import aside
from models.console.units import format_bytes
from models.errors import EspalierError
from models.formats import hub

ROOT = Path(__file__).parents[2]


def fetch_repository(name: str, source: Hub, progress: Progress) -> Path:
    """The folder of the repository in the Hub's own cache, with what is missing downloaded.

    EspalierError in one line where the Hub does not answer or refuses. `progress` may raise to cancel.
    """
    progress(0.0, f"Asking the Hub for {source.repo}")
    if not aside(lambda: hub.answers(source.repo, source.revision)):
        raise EspalierError("The Hub does not answer")
    blobs = hub.blobs(source.repo)
    size = format_bytes(source.bytes)

    def looking() -> None:
        done = min(sum(file_sizes(blobs)), source.bytes)
        progress(done / source.bytes, f"Fetching {source.repo} from the Hub ({format_bytes(done)} of {size})")

    command = [sys.executable, "-m", "models.catalogue.repository", name, source.repo, source.revision]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    words = watch(command, looking, os.environ | {"PYTHONPATH": path, "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    folder = hub.cached(source.repo, source.revision) if words is None else None
    if folder is None:
        said = (words or f"The Hub gave no weights of {source.repo}").splitlines()[-1]
        raise EspalierError(said.removeprefix("error: "))
    return folder


def main() -> int:
    """The child process; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("name", "repo", "revision"):
        parser.add_argument(option)
    options = parser.parse_args()
    return finish(lambda: hub.download(options.name, options.repo, options.revision) and None, debug=False)


if __name__ == "__main__":
    sys.exit(main())
