"""The models to choose from as the picker lists them: size, licence, and whether they are here."""

from models.catalogue import find
from models.catalogue.listing import weight_bytes
from models.console.units import format_bytes
from ui.engine import Engine
from ui.texts import Words


def labelled(engine: Engine, words: Words) -> list[tuple[str, str]]:
    """What the picker shows for each model, and its name."""
    return [(label_of(name, engine, words), name) for name in engine.choices()]


def label_of(name: str, engine: Engine, words: Words) -> str:
    """`smollm2 · 257 MiB · Apache-2.0 · not fetched`; a model that is not of the catalogue is its name."""
    entry = find(name)
    if entry is None:
        return name
    size = format_bytes(weight_bytes(entry))
    if entry.ships:
        return f"{name} · {size} · {words('model_ships')}"
    state = words("model_missing" if engine.fetcher.missing(name) else "model_here")
    return f"{name} · {size} · {entry.licence} · {state}"
