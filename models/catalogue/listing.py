"""What one must know of a named model before choosing it: facts for lists, and how many bytes it is."""

from typing import Any

from models.catalogue.entry import Entry
from models.catalogue.fetching import cached


def facts(entry: Entry) -> dict[str, Any]:
    """A model as JSON types; `folder` is None where it must be fetched first. Asks no network."""
    folder = cached(entry)
    return {
        "name": entry.name, "summary": entry.summary, "licence": entry.licence, "parameters": entry.parameters,
        "context": entry.context, "chat": entry.chat, "bytes": weight_bytes(entry), "ships": entry.ships,
        "download_bytes": entry.wheel.bytes if entry.wheel else entry.hub.bytes if entry.hub else None,
        "folder": str(folder) if folder else None,
    }  # fmt: skip


def weight_bytes(entry: Entry) -> int:
    """Bytes of a model's safetensors: of those that are here, else what its source says."""
    if (folder := cached(entry)) is not None:
        return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return entry.hub.bytes if entry.hub else entry.wheel.weights_bytes
