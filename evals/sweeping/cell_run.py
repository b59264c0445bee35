"""The cells of a sweep as they go through an engine."""

import time

from evals.reporting.headings import headings
from evals.runs.results import Result
from evals.sweeping.board import Board, Standing
from evals.sweeping.engines import Ended, Engine
from evals.sweeping.sweep_plan import Plan, Planned

HEARTBEAT = 0.25  # seconds between two looks at the running cells
PERPLEXITIES = ("perplexity", "word_perplexity", "mean_perplexity")
ENOUGH = 0.1  # cells' worth of work, from which on the time left can be told


class CellRun:
    """Runs the cells that are not whole; `standings` tell of all, by name.

    A model's dense cell comes before its others, which find its answers in the cache, and fail with it.
    """

    def __init__(self, plan: Plan, engine: Engine, board: Board):
        self._engine, self._board = engine, board
        self._planned = {planned.cell.name: planned for planned in plan.planned}
        self._dense = {planned.cell.model: planned.cell.name for planned in plan.planned if planned.cell.config is None}
        self._found_whole = {planned.cell.name for planned in plan.planned if planned.whole}
        self.standings = {name: Standing() for name in self._planned}

    @property
    def done(self) -> int:
        """How many cells are whole."""
        return sum(standing.state == "done" for standing in self.standings.values())

    def run(self) -> None:
        """Runs until every cell is done or has failed."""
        began = time.monotonic()
        for name in self._found_whole:
            self._end(Ended(name, None))
        while self._of_state("waiting", "running"):
            self._start()
            ended = self._engine.ended(HEARTBEAT) if self._of_state("running") else []
            for name, fraction in self._engine.fractions().items():
                self.standings[name].fraction = fraction
            for each in ended:
                self._end(each)
                self._board.tell(each.name, self.standings, self._seconds_left(began))
            self._board.show(self.standings, self._seconds_left(began))

    def cancel(self) -> None:
        """Ends what runs, and removes what is not whole of it."""
        self._engine.close()
        for name in self._of_state("running"):
            whole = self._planned[name].folder.document() is not None
            self._end(Ended(name, None if whole else "interrupted"))

    def _of_state(self, *states: str) -> list[str]:
        return [name for name, standing in self.standings.items() if standing.state in states]

    def _start(self) -> None:
        for name in self._of_state("waiting"):
            planned = self._planned[name]
            dense = self.standings[self._dense[planned.cell.model]]
            if dense.state == "failed":
                self._end(Ended(name, "the dense model that it is compared with could not be measured"))
                self._board.tell(name, self.standings, None)
            elif len(self._of_state("running")) < self._engine.workers and (
                planned.cell.config is None or dense.state == "done"
            ):
                self.standings[name].state = "running"
                planned.folder.begin(planned.settings)
                self._engine.submit(planned.job)

    def _end(self, ended: Ended) -> None:
        planned, error = self._planned[ended.name], ended.error
        document = None
        if error is None and (document := planned.folder.document()) is None:
            error = "it left no whole results"
        if document is None:
            planned.folder.discard()
            self.standings[ended.name] = Standing("failed", error=error)
            return
        planned.folder.settle()
        heading, figure = main_figure(document, planned)
        self._board.heading = heading or self._board.heading
        self.standings[ended.name] = Standing("done", figure=figure)

    def _seconds_left(self, began: float) -> float | None:
        """By the time that the cells took so far; None while too little is done to tell."""
        share = {
            name: standing.fraction if standing.state in ("waiting", "running") else 1.0
            for name, standing in self.standings.items()
            if name not in self._found_whole
        }
        worked = sum(share.values())
        return (time.monotonic() - began) * (len(share) - worked) / worked if worked > ENOUGH else None


def main_figure(document: dict, planned: Planned) -> tuple[str, str]:
    """The heading and the value, with its spread, of a cell's first perplexity, else of the first figure it has."""
    of_all = [Result.from_dict(entry) for entry in document["results"]]
    name = planned.cell.name if planned.cell.config else planned.cell.model
    named = [
        (result, heading)
        for result, heading in zip(of_all, headings(of_all), strict=True)
        if result.model == name and result.baseline is None
    ]
    named.sort(key=lambda pair: pair[0].measurement.metric not in PERPLEXITIES)
    return (named[0][1], str(named[0][0].measurement)) if named else ("", "measured")
