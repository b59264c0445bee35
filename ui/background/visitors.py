"""Who looks at what, and who is running what: a visitor's choice of models, and the stop events by session."""

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Visit:
    """What a visitor looks at: a dense model by name, and its pruned twin by key (empty: none yet)."""

    model: str = ""
    twin: str = ""


class Runs:
    """At most one run a visitor and a tab. A run is announced before it waits in line, so that Stop always finds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[tuple[str, str], threading.Event] = {}

    def announce(self, session: str | None, name: str) -> None:
        """Makes a fresh stop event for the run `name` of a session, ending an older run of that name."""
        with self._lock:
            older = self._events.get((session or "", name))
            if older is not None:
                older.set()
            self._events[session or "", name] = threading.Event()

    def event(self, session: str | None, name: str) -> threading.Event:
        """The stop event of the announced run; one that was never announced gets its event here."""
        with self._lock:
            return self._events.setdefault((session or "", name), threading.Event())

    def stop(self, session: str | None, name: str) -> None:
        """Asks a session's run to end. One that is not there is no mistake: it ended by itself."""
        with self._lock:
            event = self._events.get((session or "", name))
        if event is not None:
            event.set()

    def running(self, session: str | None, name: str) -> bool:
        """Whether a session's run of that name is announced and has not ended."""
        with self._lock:
            return (session or "", name) in self._events

    def finish(self, session: str | None, name: str, event: threading.Event) -> None:
        """Forgets a run that has ended, unless a newer one has taken its name."""
        event.set()
        with self._lock:
            if self._events.get((session or "", name)) is event:
                del self._events[session or "", name]
