"""Which models the page starts with: what was asked for, else the catalogue's first, fetched if it is not here."""

from argparse import Namespace
from collections.abc import Callable

from models.catalogue import entries
from models.catalogue.fetching import cached, fetching_forbidden
from models.errors import EspalierError
from ui.local_engine import LocalEngine

SHIPPED = "embedded"


def start_engine(options: Namespace, private: bool, told: Callable[[str], None]) -> LocalEngine:
    """The engine with its first model loaded. `private`: whether its visitors are the person at this machine.

    With --model or --pruned nothing else is fetched; without, the catalogue's first model is used if it is here, else
    it is fetched in the background unless that is forbidden. `told` is given the lines for the console.
    """
    common = dict(device=options.device, dtype=options.dtype, free_choice=private, told=told)
    if options.model is not None or options.pruned is not None:
        return LocalEngine(options.model or SHIPPED, options.pruned, **common)
    first = entries()[0]
    if cached(first) is None:
        if fetching_forbidden():
            return LocalEngine(SHIPPED, **common)
        return LocalEngine(SHIPPED, awaited=first.name, **common)
    try:
        return LocalEngine(first.name, **common)
    except EspalierError as error:  # nobody asked for it: the page opens without
        told(f"{first.name} cannot be used, so the page starts on {SHIPPED}: {error}")
        return LocalEngine(SHIPPED, **common)
