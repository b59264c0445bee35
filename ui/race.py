"""The fair race: the two models one after the other, each alone on the machine, several times."""

import threading
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from models.errors import Cancelled
from ui.engine import Engine
from ui.html import note, number, progress_bar
from ui.pair import sides_of
from ui.texts import Words
from ui.visitors import Visit

if TYPE_CHECKING:
    from evals.cost.speed import RaceResult
    from evals.measurement import Measurement


def run_race(
    engine: Engine, visit: Visit, prompt: str, new_tokens: int, repeats: int, stop: threading.Event, words: Words
) -> Iterator[tuple[str, str]]:
    """Yields (HTML, sentence for screen readers) while it runs, the table at the end; ("", "") as a heartbeat."""
    from evals.cost.speed import race

    def work(publish) -> None:
        contenders = [(side.name, side.loaded.model, side.loaded.tokenizer) for side in sides_of(engine, visit)]
        publish(race(contenders, prompt, new_tokens, repeats, progress=lambda *now: publish(now), stop=stop))

    try:
        for news in engine.worker.follow(work, stop):
            if news is None:
                yield "", ""
            elif isinstance(news, tuple):
                yield progress_bar(news[0], words("racing"), news[1]), ""
            else:
                yield table(news, new_tokens, repeats, words), verdict(news, words)
    except Cancelled:
        yield note(words("race_stopped")), words("race_stopped")


def table(result: "RaceResult", new_tokens: int, repeats: int, words: Words) -> str:
    """The medians of both with their intervals, and the sentence that says what they mean."""
    columns = (("race_rate", "decode_rate", 1), ("race_tpot", "tpot", 1000), ("race_ttft", "ttft", 1000))
    head = "".join(f"<th scope='col'>{escape(words(key))}</th>" for key, _, _ in columns)
    rows = "".join(
        f"<tr class='{lane.name}'><th scope='row'>{escape(words(lane.name))}</th>"
        + "".join(f"<td>{_cell(getattr(lane, field), factor, words)}</td>" for _, field, factor in columns)
        + "</tr>"
        for lane in result.lanes
    )
    return (
        f'<section class="race"><h3>{escape(words("race_title", n=repeats, tokens=new_tokens))}</h3>'
        f"<table><thead><tr><th scope='col'>{escape(words('race_model'))}</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f"{note(verdict(result, words), 'verdict')}</section>"
    )


def verdict(result: "RaceResult", words: Words) -> str:
    """Which is faster and by how much, or that the difference is within noise."""
    ratio = result.lanes[-1].speedups["decode_speedup"]
    low, high = ratio.interval or (ratio.value, ratio.value)
    kind = "race_faster" if low > 1 else "race_slower" if high < 1 else "race_noise"
    return words(kind, ratio=number(ratio.value), low=number(low), high=number(high))


def _cell(measurement: "Measurement", factor: float, words: Words) -> str:
    value = f"<b>{number(measurement.value * factor)}</b>"
    if measurement.interval is None:
        return value
    low, high = (number(end * factor) for end in measurement.interval)
    return f"{value} <small>{escape(words('range', low=low, high=high))}</small>"
