"""The exception types every floor shares: what went wrong and what to do about it."""


class EspalierError(Exception):
    """Something failed while running. The text is one line and ends with a remedy."""

    exit_code = 1


class RequestError(EspalierError):
    """The request itself is wrong (a missing file, an impossible option): nothing was done."""

    exit_code = 2


class Cancelled(EspalierError):
    """The person asked a long task to stop. Raised from a progress callback, between two steps."""

    def __init__(self, message: str = "Cancelled; nothing was changed."):
        super().__init__(message)


def first_line(error: BaseException, length: int = 300) -> str:
    """What another library's error says, in one line: its first, or its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:length]


def reason(error: BaseException) -> str:
    """Why something ended, as a sentence, for a line that goes on with what is kept of it."""
    if isinstance(error, EspalierError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    return f"{type(error).__name__}: {first_line(error)} (run again with --debug for the traceback)."
