"""Headline: a paragraph, and the name of the article or the section that it opens."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from training.formats import STOP, completion, headline_prompt
from training.instructions import Example
from training.tasks import Keyed, Task
from training.tasks.articles import Paragraph, articles


def example(paragraph: Paragraph) -> Example:
    """A paragraph and its heading."""
    assert paragraph.heading is not None
    return [(headline_prompt(paragraph.text), False), (completion(paragraph.heading) + STOP, True)]


def examples(root: Path, generator: Random) -> Iterator[Keyed]:
    """One headed paragraph of every article that has one: its opening, or that of a section."""
    for title, paragraphs in articles(root):
        if headed := [paragraph for paragraph in paragraphs if paragraph.heading]:
            yield title, example(generator.choice(headed))


TASK = Task("headline", "the title of an article or a section from its first paragraph (Wikipedia)", examples)
