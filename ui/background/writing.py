"""The pair writes on what it is asked: what the Generate and Answer tabs and their endpoints all follow."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.sampling import Sampling
from ui.background.streaming import Picture, write_together
from ui.background.visitors import Visit
from ui.complaints import explain
from ui.engine import Engine
from ui.forms import Asked, Form, form_of
from ui.pair import Side, sides_of
from ui.texts import Words

if TYPE_CHECKING:
    from models.decoding import Generation


LONGEST_CHARACTER = 4  # tokens; a byte each at worst
Ask = Callable[[Form, Side], Asked]  # what each side is asked, in the form of the dense model


@dataclass(frozen=True)
class Parting:
    """Where two texts part ways: the first differing token, counted from 1, and what each has there.

    `spans` are (start, end) in characters of the two texts. With `at` None they do not part: `same` tokens agree, and
    `whole` tells whether that is all of both.
    """

    at: int | None
    same: int
    whole: bool
    spans: tuple[tuple[int, int], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Scene:
    """The pair at one moment: each side's name and picture; at the end, where the texts part."""

    names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    over: bool = False
    parting: Parting | None = None


def write_pair(
    engine: Engine,
    visit: Visit,
    ask: Ask,
    sampling: Sampling,
    stop: threading.Event,
    words: Words | None = None,
) -> Iterator[Scene | None]:
    """Yields scenes while the pair writes, None as a heartbeat, and a last scene with `over` set.

    The texts that end an answer are those of `sampling` and those that come with what is asked. Raises what the models raise: RequestError for a prompt that is too long, EspalierError when all sides failed, and
    Cancelled if `stop` is set while a model is being loaded.
    """
    from models.decoding import Generation

    def work(publish) -> None:
        sides = sides_of(engine, visit)
        names = tuple(side.name for side in sides)
        writers = []
        for side, (prompt, stops) in zip(sides, asked_of(sides, ask), strict=False):
            chosen = replace(sampling, stop=(*sampling.stop, *stops))
            writers.append(Generation(side.loaded.model, side.loaded.tokenizer, prompt, chosen))
        for writer in writers:
            with suppress(Exception):  # a model that fails does so again at its first step, which shows in its pane
                writer.warm_up()
        pictures = write_together(
            writers,
            lambda now: publish(Scene(names, tuple(now))),
            stop,
            explain=lambda error: explain(error, words or Words()),
        )
        parting = find_parting(writers, sides[0].loaded.tokenizer) if len(writers) == 2 else None
        publish(Scene(names, tuple(pictures), True, parting))

    yield from engine.worker.follow(work, stop)


def asked_of(sides: Sequence[Side], ask: Ask) -> list[Asked]:
    """What each side is asked. The pruned one has its tokenizer from the dense one, and so its form."""
    form = form_of(sides[0].loaded)
    return [ask(form, side) for side in sides]


def continuing(text: str) -> Ask:
    """Both sides continue a text as it stands."""
    return lambda form, side: Asked(text)


def find_parting(writers: Sequence["Generation"], tokenizer) -> Parting:
    """Compares two continuations token by token."""
    from models.decoding import TextStream

    first, second = (writer.ids for writer in writers)
    same = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    if same == min(len(first), len(second)):
        return Parting(None, same, whole=len(first) == len(second))

    def span(ids: list[int]) -> tuple[int, int]:
        stream = TextStream(tokenizer)
        for token in ids[:same]:
            stream.push(token)
        start = len(stream.seen)
        # One token, and where it is a part of a character only, those that complete it.
        for token in ids[same : same + LONGEST_CHARACTER]:
            stream.push(token)
            if len(stream.seen) > start:
                return start, len(stream.seen)
        stream.finish()
        return start, len(stream.text)

    return Parting(same + 1, same, whole=False, spans=(span(first), span(second)))
