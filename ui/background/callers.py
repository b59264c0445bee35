"""The program behind a request: whether it still waits for its answer."""

import threading

from gradio.context import LocalContext


class CallerGone(threading.Event):
    """A stop event that is also set once the program has cancelled its request or closed its connection.

    Gradio ends a request that yields, and one that does not runs on for nobody; so the queue is asked, which forgets a
    cancelled request and marks one whose connection is closed. To be made while the request is being served.
    """

    def __init__(self) -> None:
        super().__init__()
        page = LocalContext.blocks.get(None)
        self._event = LocalContext.event_id.get(None)
        self._requests = page._queue.event_ids_to_events if page is not None and self._event else None

    def is_set(self) -> bool:
        """Whether the work shall end."""
        return super().is_set() or self._gone()

    def _gone(self) -> bool:
        if self._requests is None:  # not a request of the queue: a plain call
            return False
        request = self._requests.get(self._event)
        return request is None or not request.alive
