"""What fine-tuning examples are made of, and which texts are kept back for measuring."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from training.held_out import HELD_OUT_ARTICLES, HELD_OUT_SENTENCES, is_held_out
from training.sources import QUESTIONS, SENTIMENT, Passage, Review, Source

Example = list[tuple[str, bool]]  # pieces of text; True where it is a completion


def reviews(root: Path, held_out: bool = False, sources: Sequence[Source] = SENTIMENT) -> Iterator[Review]:
    """The reviews of sentiment sources. SST-2's train split is all for training: its test split is a file apart."""
    for source in sources:
        for review in source.open(root):
            kept_back = source.name != "SST-2" and is_held_out(review.text, HELD_OUT_SENTENCES)
            if kept_back == held_out:
                yield review


def passages(root: Path, held_out: bool = False, sources: Sequence[Source] = QUESTIONS) -> Iterator[Passage]:
    """The passages of question sources, split by article: one kept back in SQuAD 1.1 is kept back in 2.0, too."""
    for source in sources:
        for passage in source.open(root):
            if is_held_out(passage.article, HELD_OUT_ARTICLES) == held_out:
                yield passage
