"""What all plots share: figures without a window system, colours that everyone can tell apart, labels that do not meet.

The colours are those of Okabe and Ito (2008), and every colour has a marker of its own, so that no line is told by its
colour alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import cos, pi, sin
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from evals.measurement import Measurement
from models.storage.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DOTS_PER_INCH = 150
PANEL = (6.4, 4.4)  # inches
RADII = (9, 17, 27, 40, 56)  # points between a mark and its label, nearest first
DIRECTIONS = 12
LONGEST_LABEL, LONGEST_LINE = 28, 52  # characters
CHINESE_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "Microsoft YaHei", "PingFang SC", "WenQuanYi Zen Hei", "SimHei")
STYLE = {
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
    "svg.hashsalt": "espalier",
}  # fmt: skip


@contextmanager
def style() -> Iterator[None]:
    """Within it figures are drawn and saved in the style of all plots."""
    import matplotlib

    with matplotlib.rc_context(STYLE | {"font.family": ["DejaVu Sans", *_chinese_fonts()]}):
        yield


def canvas(panels: int = 1) -> tuple["Figure", list["Axes"]]:
    """A figure of panels side by side, two in a row."""
    columns = min(panels, 2)
    return _panels(columns, [PANEL[1]] * -(-panels // columns), panels)


def column(heights: Sequence[float]) -> tuple["Figure", list["Axes"]]:
    """A figure of panels below each other, of so many inches each."""
    return _panels(1, heights, len(heights))


def _panels(columns: int, heights: Sequence[float], panels: int) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    figure = Figure(figsize=(PANEL[0] * columns, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    axes = [figure.add_subplot(grid[at // columns, at % columns]) for at in range(panels)]
    for panel in axes:
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.set_axisbelow(True)
    return figure, axes


@cache
def _chinese_fonts() -> list[str]:
    """Of the fonts that have Chinese letters those that this machine has; names of models may need one."""
    from matplotlib.font_manager import get_font_names

    known = set(get_font_names())
    return [name for name in CHINESE_FONTS if name in known]


def look(at: int) -> dict:
    """The colour and marker of the at-th line; the first 56 pairs all differ."""
    return {"color": COLOURS[at % len(COLOURS)], "marker": MARKERS[at % len(MARKERS)]}


def arms(measurements: Sequence[Measurement]) -> list[list[float]]:
    """The lengths of the error bars below and above, as matplotlib takes them; 0 where there is no interval."""
    ends = [m.interval or (m.value, m.value) for m in measurements]
    below = [max(0.0, m.value - low) for m, (low, _) in zip(measurements, ends, strict=True)]
    above = [max(0.0, high - m.value) for m, (_, high) in zip(measurements, ends, strict=True)]
    return [below, above]


def points(axes: "Axes", across: Sequence, up: Sequence, **options) -> None:
    """Points with error bars: either side is a list of numbers, or of measurements, which have their 95 % intervals."""
    measured = {"xerr": across, "yerr": up}
    bars = {side: arms(values) for side, values in measured.items() if any(isinstance(v, Measurement) for v in values)}
    style = {"capsize": 3, "markersize": 6, "linewidth": 1.5, "elinewidth": 1} | options
    axes.errorbar(_values(across), _values(up), **bars, **style)


def shorten(name: str) -> str:
    """A name that fits a plot: the end of a long path or id, which tells more than its beginning."""
    return name if len(name) <= LONGEST_LABEL else f"…{name[1 - LONGEST_LABEL :]}"


def logarithmic(axes: "Axes", side: str) -> None:
    """Makes the side, `x` or `y`, logarithmic, its numbers written out: 1, 2, 5, 10, 20."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def two_lines(label: str, told: str) -> str:
    """The label of an axis with what else holds of it below, in lines no wider than a panel."""
    whole = ", ".join(fact.replace(" ", "\u00a0") for fact in told.split(", "))  # a line ends between two facts
    return "\n".join([label, *wrap(whole, LONGEST_LINE)])


def legend(axes: "Axes") -> None:
    """A legend beside the panel, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, fontsize=9, frameon=False)


def place_labels(axes: "Axes", labels: Sequence[tuple[float, float, str]]) -> None:
    """Writes a label (x, y, text) beside each point, where it meets no other label and no point.

    A label that finds no free place near its point stands farther off, with a thin line to it. Call it last: it settles
    the layout.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    figure = axes.figure
    agg = FigureCanvasAgg(figure)
    agg.draw()
    pixels = figure.dpi / 72
    marks = [axes.transData.transform((x, y)) for x, y, _ in labels]
    taken = [Bbox.from_bounds(x - 5 * pixels, y - 5 * pixels, 10 * pixels, 10 * pixels) for x, y in marks]
    inside = axes.get_window_extent()
    for (x, y, text), mark in zip(labels, marks, strict=True):
        note = axes.annotate(
            text, (x, y), xytext=(0, 0), textcoords="offset points", ha="center", va="center", fontsize=8,
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5},
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "0.5", "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip
        box = Text.get_window_extent(note, agg.get_renderer())  # without the line
        offset = _free_place(mark, (box.width, box.height), taken, inside, pixels)
        note.set_position(offset)
        note.set_in_layout(False)
        if (offset[0] ** 2 + offset[1] ** 2) ** 0.5 < 3 * RADII[0] + box.width / 2 / pixels:
            note.arrow_patch.set_visible(False)
        taken.append(_box_at(mark, offset, (box.width, box.height), pixels))


def save(figure: "Figure", files: Sequence[Path]) -> None:
    """Writes the figure to files, each in the format of its name and whole or not at all; the same bytes every time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once for all formats
    for file in files:
        kind = file.suffix.removeprefix(".")
        undated = {"metadata": {"Date": None}} if kind == "svg" else {}
        with new_file(file) as temporary:
            figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, **undated)


def _values(points: Sequence) -> list[float]:
    return [point.value if isinstance(point, Measurement) else point for point in points]


def _free_place(mark, size: tuple[float, float], taken: list, inside, pixels: float) -> tuple[float, float]:
    """The offset in points of the first place, near before far, whose box meets nothing; else the emptiest."""
    places = []
    for radius in RADII:
        for turn in range(DIRECTIONS):
            angle = pi / 2 - 2 * pi * turn / DIRECTIONS  # from above, clockwise
            across, up = cos(angle), sin(angle)
            offset = (across * (radius + size[0] / 2 / pixels), up * (radius + size[1] / 2 / pixels))
            box = _box_at(mark, offset, size, pixels)
            hidden = sum(_shared(box, other) for other in taken)
            outside = box.width * box.height - _shared(box, inside)
            if hidden + outside < 1:
                return offset
            places.append((hidden + outside, offset))
    return min(places)[1]


def _box_at(mark, offset: tuple[float, float], size: tuple[float, float], pixels: float):
    from matplotlib.transforms import Bbox

    middle = (mark[0] + offset[0] * pixels, mark[1] + offset[1] * pixels)
    width = size[0] + 4 * pixels  # the space between two labels side by side
    return Bbox.from_bounds(middle[0] - width / 2, middle[1] - size[1] / 2, width, size[1])


def _shared(one, other) -> float:
    """The area in which two boxes overlap."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, width) * max(0.0, height)
