"""How a request runs on the page: checked at once, then in line for the machine, stoppable at any time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from models.errors import Cancelled
from ui.background.visitors import Runs
from ui.complaints import explain, warn
from ui.engine import Engine
from ui.parts.panes import Buttons
from ui.parts.status import announce
from ui.texts import words_of

PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}
ONE_AT_A_TIME = {"concurrency_id": "model", "concurrency_limit": 1}
Updates = dict[Any, Any]  # new values by component


@dataclass(frozen=True)
class Task:
    """What a button starts. All three are given the visitor's words and the values of the task's inputs.

    `check` may refuse with `complaints.refusal`; `work` (given the stop event too) yields updates, or None as a
    heartbeat; `failed` (given the complaint) says what the page shows when the work broke down.
    """

    name: str
    work: Callable[..., Iterator[Updates | None]]
    failed: Callable[..., Updates]
    check: Callable[..., None] | None = None


@dataclass(frozen=True)
class Desk:
    """What all parts of the page share: the engine, the visitors' runs, what each looks at, the status line."""

    engine: Engine
    runs: Runs
    visit: gr.State
    status: gr.HTML

    def wire(
        self, button: gr.Button, buttons: Buttons, task: Task, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> None:
        """Pressing `button` runs the task, its updates streamed to `outputs` and the status line.

        The check does not wait in line: a wrong request is answered at once and leaves everything as it is.
        """

        def begin(request: gr.Request, *values: Any) -> Updates:
            if task.check is not None:
                task.check(words_of(request), *values)
            self.runs.announce(request.session_hash, task.name)
            return buttons.running(True)

        def run(request: gr.Request, *values: Any) -> Iterator[Updates]:
            words = words_of(request)
            stop = self.runs.event(request.session_hash, task.name)
            try:
                for updates in task.work(words, stop, *values):
                    yield updates or {self.status: gr.skip()}
            except Exception as error:
                complaint = words("cancelled") if isinstance(error, Cancelled) else explain(error, words)
                warn(complaint)
                yield task.failed(words, complaint, *values) | {self.status: announce(complaint)}
            finally:
                self.runs.finish(request.session_hash, task.name, stop)

        # Not queue=False: only what goes through the queue can show a complaint. Without a limit it never waits.
        started = button.click(begin, inputs, buttons.components, concurrency_limit=None, **PRIVATE)
        done = started.success(run, inputs, [*outputs, self.status], **ONE_AT_A_TIME, **PRIVATE)
        done.then(lambda: buttons.running(False), None, buttons.components, queue=False, **PRIVATE)

    def wire_stop(self, buttons: Buttons, name: str) -> None:
        """Pressing Stop ends the visitor's run of that name after the step that is being computed."""

        def stop(request: gr.Request) -> None:
            self.runs.stop(request.session_hash, name)

        buttons.stop.click(stop, None, None, queue=False, **PRIVATE)

    def wire_refresh(self, empty: Callable[..., Updates], outputs: Sequence[Any], inputs: Sequence[Any] = ()) -> None:
        """When the visitor's models change, `empty(words, visit, ...)` shows that nothing was asked of them yet."""

        def refresh(request: gr.Request, now: Any, *values: Any) -> Updates:
            return empty(words_of(request), now, *values)

        self.visit.change(refresh, [self.visit, *inputs], list(outputs), queue=False, **PRIVATE)

    def say(self, text: str) -> Updates:
        """The update that announces a result to screen readers."""
        return {self.status: announce(text)}
