"""Compiles the kernels on first use, with torch's extension loader, into a folder of the user's cache.

Nothing is compiled at import. One process compiles while others wait; a process that was killed meanwhile leaves
nothing behind that the next one would wait for. Where there is no compiler, or ESPALIER_KERNELS=none, `kernels()` is
None, `state()` says why, and packed layers compute with torch's own operators.

    ESPALIER_KERNELS         none, or the most that may be used of avx512, avx2 and plain
    ESPALIER_KERNELS_CACHE   the folder for what is compiled (default: ~/.cache/espalier/kernels)
"""

import contextlib
import hashlib
import os
import platform
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from models.storage.disk import explain

NAME = "espalier_kernels"
SOURCES = ("operators.cpp", "products.cpp", "block.cpp", "plain.cpp", "avx2.cpp", "avx512.cpp")
HEADERS = ("matrix.h", "elementwise.h", "plain.h", "avx512_row.h", "packed.h", "block.h")
FLAGS = ("-O3", "-std=c++20", "-Wno-psabi")
# torch's loops over threads are templates, compiled here, and without this they run on one. The library that it links
# has the name of torch's own, which is loaded already: there is one pool of threads.
THREADS = ("-fopenmp",) if sys.platform == "linux" and torch.backends.openmp.is_available() else ()
_lock = threading.Lock()
_loaded: list = []  # the operators, or None; and the words of `state`


class SlowKernels(UserWarning):
    """The compiled kernels are not there: packed models work, but slowly. The text says what to install."""


def kernels():
    """`torch.ops.espalier`, compiled if need be; None where that is not possible, after one warning."""
    if not _loaded:
        with _lock:
            if not _loaded:
                _loaded.extend(_load())
    return _loaded[0]


def state() -> str:
    """Which kernels are used, in words: `avx512`, `avx2`, `plain`, or `none (why)`."""
    kernels()
    return _loaded[1]


def can_compile() -> bool:
    """Whether the kernels are there, or a compiler to make them with; compiles nothing."""
    switched_off = os.environ.get("ESPALIER_KERNELS") == "none"
    return not switched_off and ((cache_folder() / "ready").exists() or _compiler() is not None)


def use(most: str) -> str:
    """Uses no more than `most` of avx512, avx2 and plain (empty: the best) from now on; returns which it is."""
    operators = kernels()
    if operators is not None:
        _loaded[1] = operators.use_kernels(most)
    return _loaded[1]


def cache_folder() -> Path:
    """Where the library of these sources, this torch and this processor family is kept."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in (*SOURCES, *HEADERS):
        digest.update((here / name).read_bytes())
    digest.update(repr((FLAGS, THREADS, torch.__version__, sys.implementation.cache_tag, platform.machine())).encode())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("ESPALIER_KERNELS_CACHE") or caches / "espalier" / "kernels") / digest.hexdigest()[:16]


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "c++"))


def _load() -> tuple:
    if os.environ.get("ESPALIER_KERNELS") == "none":
        return None, "none (switched off by ESPALIER_KERNELS)"
    try:
        _open()
        return torch.ops.espalier, torch.ops.espalier.use_kernels(os.environ.get("ESPALIER_KERNELS", ""))
    except Exception as error:  # whatever a compiler, a loader or a full disk can come up with
        reason = _reason(error)
        warnings.warn(
            f"Packed layers run without their kernels, slowly: {reason}. {_remedy(error)}",
            SlowKernels,
            stacklevel=3,
        )
        return None, f"none ({reason})"


def _reason(error: Exception) -> str:
    if _compiler() is None:
        return "there is no C++ compiler"
    lines = str(error).splitlines() or [repr(error)]
    lines = [line for line in lines if "error:" in line] or lines  # of a compiler's pages, the line that says it
    return lines[0].strip().rstrip(".")


def _remedy(error: Exception) -> str:
    """What to do about it: where the disk refuses, a compiler is not what is missing."""
    folder = cache_folder()
    if explain(error, folder / "ready") is None:
        return "Install g++ and ninja to have them compiled."
    return f"Make room, or make {folder} writable, or name another folder by ESPALIER_KERNELS_CACHE."


def _open() -> None:
    """Loads the library, compiled if it is not there whole: `ready` is written after everything else."""
    folder = cache_folder()
    if not (folder / "ready").exists():
        _compile(folder)
    torch.ops.load_library(folder / f"{NAME}.so")


def _compile(folder: Path) -> None:
    if _compiler() is None:
        raise OSError("there is no C++ compiler")
    from torch.utils import cpp_extension

    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "espalier.lock"):
        if (folder / "ready").exists():
            return
        # The loader's own lock outlives a process that was killed, and it would be waited for without end.
        (folder / "lock").unlink(missing_ok=True)
        with _quiet(), _with_ninja():
            cpp_extension.load(
                name=NAME,
                sources=[str(Path(__file__).parent / name) for name in SOURCES],
                extra_cflags=[*FLAGS, *THREADS],
                extra_ldflags=list(THREADS),
                build_directory=str(folder),
                is_python_module=False,
            )
        (folder / "ready").touch()


@contextlib.contextmanager
def _with_ninja() -> Iterator[None]:
    """Finds the ninja that is installed with Espalier also where the environment was not activated."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds a lock that ends with the process, however that ends."""
    with open(path, "a") as file:
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
