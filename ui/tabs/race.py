"""The fair race: the two models, and both packed, one after the other, each alone on the machine, several times."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from models.errors import Cancelled
from ui.background.visitors import Visit
from ui.background.writing import Ask, asked_of
from ui.engine import Engine
from ui.pair import sides_of
from ui.parts.html import note, number, progress_bar
from ui.tabs.lanes import gains, lanes_of, layout_of, row_name
from ui.texts import Words

if TYPE_CHECKING:
    from evals.cost.speed import RaceResult
    from evals.measurement import Measurement


def run_race(
    engine: Engine, visit: Visit, ask: Ask, new_tokens: int, repeats: int, stop: threading.Event, words: Words
) -> Iterator[tuple[str, str]]:
    """Yields (HTML, sentence for screen readers) while it runs, the table at the end; ("", "") as a heartbeat.

    All read what the dense model is asked.
    """
    from evals.cost.speed import race

    def work(publish) -> None:
        layout = layout_of(engine.twin(visit.twin))

        def report(share: float, row: str) -> None:
            if stop.is_set():
                raise Cancelled("the race")
            publish((share, words("race_packing", row=words(f"lane_{row}"))))

        sides = sides_of(engine, visit)
        prompt = asked_of(sides[:1], ask)[0].prompt
        lanes, missing = lanes_of(sides, layout, report)
        result = race(lanes, prompt, new_tokens, repeats, progress=lambda *now: publish(now), stop=stop)
        publish(Raced(result, layout, missing))

    try:
        for news in engine.worker.follow(work, stop):
            if news is None:
                yield "", ""
            elif isinstance(news, tuple):
                yield progress_bar(news[0], words("racing"), news[1]), ""
            else:
                yield table(news, new_tokens, repeats, words), verdict(news.result, words)
    except Cancelled:
        yield note(words("race_stopped")), words("race_stopped")


@dataclass(frozen=True)
class Raced:
    """A race that was run: its result, how the pruned model is stored, and why rows are missing."""

    result: "RaceResult"
    layout: str
    missing: list[str]


def table(raced: Raced, new_tokens: int, repeats: int, words: Words) -> str:
    """The medians of all with their intervals, their ratios to the dense model, and the sentences that say the rest."""
    columns = (("race_rate", "decode_rate", 1), ("race_tpot", "tpot", 1000), ("race_ttft", "ttft", 1000))
    keys = ("race_model", *(key for key, _, _ in columns), "race_ratio")
    head = "".join(f"<th scope='col'>{escape(words(key))}</th>" for key in keys)
    rows = "".join(
        f"<tr class='{lane.name}'><th scope='row'>{escape(row_name(lane.name, raced.layout, words))}</th>"
        + "".join(f"<td>{_cell(getattr(lane, field), factor, words)}</td>" for _, field, factor in columns)
        + f"<td>{_cell(lane.speedups['decode_speedup'], 1, words) if lane.speedups else ''}</td></tr>"
        for lane in raced.result.lanes
    )
    said = [verdict(raced.result, words), gains(raced.result, raced.layout, words), *raced.missing]
    return (
        f'<section class="race"><h3>{escape(words("race_title", n=repeats, tokens=new_tokens))}</h3>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"{''.join(note(line, 'verdict') for line in said if line)}</section>"
    )


def verdict(result: "RaceResult", words: Words) -> str:
    """Which is faster and by how much, or that the difference is within noise."""
    ratio = result.lane("pruned").speedups["decode_speedup"]
    if ratio.interval is None:
        return words("race_no_spread", ratio=number(ratio.value))
    low, high = ratio.interval
    kind = "race_faster" if low > 1 else "race_slower" if high < 1 else "race_noise"
    return words(kind, ratio=number(ratio.value), low=number(low), high=number(high))


def _cell(measurement: "Measurement", factor: float, words: Words) -> str:
    value = f"<b>{number(measurement.value * factor)}</b>"
    if measurement.interval is None:
        return value
    low, high = (number(end * factor) for end in measurement.interval)
    return f"{value} <small>{escape(words('range', low=low, high=high))}</small>"
