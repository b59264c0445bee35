"""A sweep as it goes: on a terminal a table that is drawn again and again, elsewhere one line a finished cell."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from evals.sweeping.grid import Cell
from models.console.progress import format_seconds

if TYPE_CHECKING:
    from rich.table import Table

REDRAWN = 4  # times a second
STYLES = {"waiting": "dim", "running": "cyan", "failed": "red"}


@dataclass
class Standing:
    """How a cell stands: `waiting`, `running` (and how far, 0..1), `done` with its main figure, or `failed` and why."""

    state: str = "waiting"
    fraction: float = 0.0
    figure: str = ""
    error: str | None = None

    @property
    def text(self) -> str:
        """`40.4 ± 2.4`, `running 35 %`, `failed`."""
        if self.state == "running":
            return f"running {self.fraction:.0%}".replace("%", " %") if self.fraction else "running"
        return self.figure if self.state == "done" else self.state


class Board:
    """Shows how the cells stand; a context manager. `heading` says what the figures are, once it is known."""

    def __init__(self, cells: Sequence[Cell], stream: TextIO | None = None):
        self._cells, self._stream = list(cells), stream or sys.stderr
        self._live = None
        self.heading = ""

    def __enter__(self) -> "Board":
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), refresh_per_second=REDRAWN, transient=False)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, standings: Mapping[str, Standing], seconds_left: float | None) -> None:
        """Draws the table again, on a terminal."""
        if self._live is not None:
            self._live.update(self.table(standings, seconds_left))

    def tell(self, name: str, standings: Mapping[str, Standing], seconds_left: float | None) -> None:
        """Says that a cell has ended, where there is no table."""
        if self._live is None:
            standing = standings[name]
            told = f"failed: {standing.error}" if standing.error else f"{self.heading} {standing.figure}".strip()
            print(f"{self.summary(standings, seconds_left)}: {name}: {told}", file=self._stream, flush=True)

    def summary(self, standings: Mapping[str, Standing], seconds_left: float | None) -> str:
        """`3 of 9 cells, 1 failed, 5 min 20 s left`."""
        states = [standing.state for standing in standings.values()]
        ended, failed = sum(state in ("done", "failed") for state in states), states.count("failed")
        left = f"{format_seconds(seconds_left)} left" if seconds_left is not None and ended < len(states) else ""
        return ", ".join(filter(None, [f"{ended} of {len(states)} cells", f"{failed} failed" if failed else "", left]))

    def table(self, standings: Mapping[str, Standing], seconds_left: float | None) -> "Table":
        """Recipes by sparsities, of every model."""
        from rich.table import Table
        from rich.text import Text

        several = len({cell.model for cell in self._cells}) > 1
        columns = sorted({cell.sparsity for cell in self._cells})
        rows: dict[tuple[str, str], dict[float, Standing]] = {}
        for cell in self._cells:
            rows.setdefault((cell.model, cell.recipe), {})[cell.sparsity] = standings[cell.name]
        caption = self.summary(standings, seconds_left)
        table = Table(title=" ".join(filter(None, [self.heading, "by sparsity"])), caption=caption)
        for name in (["model"] if several else []) + ["method", *(f"{share:g}" for share in columns)]:
            table.add_column(name, justify="left" if name in ("model", "method") else "right")
        for (model, recipe), found in rows.items():
            cells = [found.get(share) for share in columns]
            texts = [Text(each.text, style=STYLES.get(each.state, "")) if each else Text("") for each in cells]
            table.add_row(*([Text(model)] if several else []), Text(recipe), *texts)
        return table
