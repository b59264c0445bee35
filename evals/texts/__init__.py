"""The small texts that ship with the project, written for measuring and used for nothing else.

Nothing is trained or calibrated on them, so that a number taken on them is not flattered.
"""

from functools import cache
from pathlib import Path

from evals.rows.rows import read_rows
from models.errors import RequestError

FOLDER = Path(__file__).parent


@cache
def prose() -> str:
    """About seventeen thousand words of English, twenty thousand tokens or more, paragraphs parted by blank lines.

    In many registers, which follow one another: reference, story, dialogue, letter, news, instructions, minutes, law,
    science, history, cooking, sport, speech, review, interview.
    """
    return (FOLDER / "prose.txt").read_text(encoding="utf-8")


@cache
def reviews(language: str) -> list[dict]:
    """Labelled reviews of products and services: over two hundred in English (`en`), over a hundred in Chinese (`zh`).

    Each has `text`, `label` (`positive` or `negative`, as many of the one as of the other) and `product`; about a
    fifth praises with reproach or the other way round. The list is shared: copy it before a change.
    RequestError for another language.
    """
    path = FOLDER / f"reviews_{language}.jsonl"
    if not path.is_file():
        languages = sorted(file.stem.removeprefix("reviews_") for file in FOLDER.glob("reviews_*.jsonl"))
        raise RequestError(f"There are no reviews in {language!r}: use one of {', '.join(languages)}.")
    return read_rows(path)


@cache
def questions() -> list[dict]:
    """Over a hundred questions on thirty short English contexts, of places and people that no model can know.

    Each has `id`, `context`, `question` and `answers`: one to three, every one a span of a few words found verbatim in
    the context. The list is shared: copy it before a change.
    """
    return read_rows(FOLDER / "questions_en.jsonl")
