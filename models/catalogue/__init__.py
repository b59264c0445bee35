"""The catalogue: models that have a name of their own here, with where each can be had. One JSON file a model."""

from models.catalogue.entry import Entry, Hub, Wheel, entries, find

__all__ = ["Entry", "Hub", "Wheel", "entries", "find"]
