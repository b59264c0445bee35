"""A lack of memory, whoever tells it, and what is said of it. Imports nothing heavy."""

from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import EspalierError

# What torch says, whose CPU allocator has no error class of its own and whose CUDA one raises a RuntimeError, too.
SAID = ("defaultcpuallocator", "not enough memory", "can't allocate memory", "out of memory")


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: Python's, torch's on the CPU, or CUDA's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, for CUDA
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in SAID)


@contextmanager
def enough_memory(otherwise: str) -> Iterator[None]:
    """Within, a lack of memory becomes an EspalierError that says `otherwise`: what was being done, and what takes less."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise EspalierError(otherwise) from error
