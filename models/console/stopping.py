"""Stopping long work where it is: between two operations of torch, and wherever a loop gives way.

A loop that reports progress ends when its callback raises `Cancelled`, but between two reports one large matrix may take
minutes. Whoever runs work for somebody who may leave says by `listening` how that is told; inside `interruptible` every
operation of torch asks, and loops without tensors ask by `give_way`. Where nobody listens all this does nothing.
"""

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from sys import exc_info
from typing import TypeVar

from models.errors import Cancelled

T = TypeVar("T")
PAUSE = 0.1  # seconds between two looks at work that runs aside

_asked: contextvars.ContextVar[Callable[[], bool] | None] = contextvars.ContextVar("asked to stop", default=None)


@contextmanager
def listening(asked: Callable[[], bool]) -> Iterator[None]:
    """Work inside, on this thread, ends soon after `asked()` has become true."""
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


def stop_asked() -> bool:
    """Whether the work on this thread shall end."""
    asked = _asked.get()
    return asked is not None and asked()


def give_way() -> None:
    """Raises Cancelled if the work on this thread shall end; for the middle of long loops without tensors."""
    if stop_asked() and not was_cancelled(exc_info()[1]):  # what tidies up after the first time must not be cut off
        raise Cancelled


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, every operation of torch gives way. It costs microseconds each: nothing is to be timed inside."""
    if _asked.get() is None:
        yield
        return
    from torch.overrides import TorchFunctionMode

    class GivingWay(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            give_way()
            return function(*args, **(kwargs or {}))

    with GivingWay():
        yield


def aside(work: Callable[[], T]) -> T:
    """The result of work that cannot be interrupted, such as a download or a compiler's.

    Where somebody listens it runs on a thread of its own, which is left alone when the work shall end.
    """
    if _asked.get() is None:
        return work()
    outcome: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="aside", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(PAUSE)
        give_way()
    ((result, error),) = outcome
    if error is not None:
        raise error
    return result


def was_cancelled(error: BaseException | None) -> bool:
    """Whether an error is Cancelled, or was raised while one was being handled."""
    while error is not None and not isinstance(error, Cancelled):
        error = error.__cause__ or error.__context__
    return error is not None
