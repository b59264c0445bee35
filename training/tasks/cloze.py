"""Cloze: a statement of a paragraph asked back with a name, a year or a number missing.

The gap is filled with a question word, so that the statement reads like a question ("The bridge was opened in which
year?"): unsupervised question answering by cloze (Lewis et al. 2019, section 2.2), without a model to reword it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from training.instructions import Example
from training.sources import Passage
from training.tasks import Keyed, Task
from training.tasks.articles import articles, sentences
from training.tasks.questions import example as reading

QUESTIONS = 4  # asked of one paragraph
WORDS = 24  # of a longer statement, those around the gap are asked
GAPS = {
    "which year": re.compile(r"(?<=\bin )1[0-9]{3}\b|(?<=\bin )20[01][0-9]\b"),
    "how many": re.compile(r"(?<=[a-z] )[1-9][0-9,]{0,8}\b(?= [a-z])"),
    "what": re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?: (?:of |the )?[A-Z][a-z]+){0,3}(?!\w)"),
}


def example(paragraph: str, generator: Random) -> Example | None:
    """A paragraph with up to four of its statements as questions; None if no statement has a gap to ask for."""
    found = [gap for sentence in sentences(paragraph) if (gap := _gap(sentence, generator))]
    chosen = generator.sample(found, min(QUESTIONS, len(found)))
    questions = tuple((question, (answer,)) for question, answer in chosen)
    return reading(Passage("", paragraph, questions), generator) if questions else None


def examples(root: Path, generator: Random) -> Iterator[Keyed]:
    """One paragraph of every article that has one to ask."""
    for title, paragraphs in articles(root):
        if asked := example(generator.choice(paragraphs).text, generator):
            yield title, asked


def _gap(sentence: str, generator: Random) -> tuple[str, str] | None:
    """A statement with one of its gaps as a question, and what was there."""
    gaps = [(word, match) for word, pattern in GAPS.items() for match in pattern.finditer(sentence)]
    if not gaps:
        return None
    word, match = generator.choice(gaps)
    before, after = sentence[: match.start()].split(), sentence[match.end() :].rstrip(".!?").split(" ")
    clause = [*before[-WORDS // 2 :], word + after[0], *after[1 : WORDS // 2]]
    return " ".join(clause).rstrip(",;: ") + "?", match.group()


TASK = Task("cloze", "statements of an article with a name or a number missing (Wikipedia)", examples)
