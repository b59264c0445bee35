"""The plots of a report: every file in plots/ is one, under its own name, and registers itself by lying there.

Such a file has one function of the file's name, decorated with `@plot()`, that makes a matplotlib figure of a results
document, or raises Undrawable; the first line of its docstring is the plot's caption.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from evals.reporting.canvas import save, style
from models.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "plots"
FORMATS = ("png", "svg")
_REGISTERED: dict[str, "Plot"] = {}


class Undrawable(Exception):
    """The document does not have what a plot shows; the text says what is missing."""


@dataclass(frozen=True)
class Plot:
    """A plot: `draw` makes the figure of a document."""

    name: str
    caption: str
    draw: Callable[[dict], "Figure"]


@dataclass(frozen=True)
class Drawn:
    """By name, the captions of the plots that were made, and why the others were not."""

    made: dict[str, str]
    missing: dict[str, str]


def plot() -> Callable:
    """Registers the decorated function as the plot of its name."""

    def register(draw: Callable[[dict], "Figure"]) -> Callable:
        caption = (draw.__doc__ or "").split("\n", 1)[0].rstrip(".")
        _REGISTERED[draw.__name__] = Plot(draw.__name__, caption, draw)
        return draw

    return register


def plots() -> list[Plot]:
    """All plots, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(FOLDER)]))
    for name in names:
        import_module(f"evals.reporting.plots.{name}")
    return [_REGISTERED[name] for name in names]


def require_matplotlib() -> None:
    """RequestError if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise RequestError("The plots need matplotlib: pip install -r requirements.txt.") from None


def draw_all(document: dict, folder: Path) -> Drawn:
    """Writes every plot that the document allows as `NAME.png` and `NAME.svg`, and removes those it does not allow."""
    require_matplotlib()
    drawn = Drawn({}, {})
    for known in plots():
        files = [folder / f"{known.name}.{suffix}" for suffix in FORMATS]
        try:
            with style():
                save(known.draw(document), files)
        except Undrawable as reason:
            drawn.missing[known.name] = str(reason)
            for file in files:
                file.unlink(missing_ok=True)  # of an earlier report
            continue
        drawn.made[known.name] = known.caption
    return drawn
