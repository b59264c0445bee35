"""The test sets that the project measures on, where they lie below a data folder: what a corpus is cleansed of."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from training.held_out import HELD_OUT_ARTICLES, HELD_OUT_SENTENCES, is_held_out
from training.sources import join_tokens, open_text, read_labelled_lines, read_squad, read_sst2


@dataclass(frozen=True)
class HeldOutSet:
    """A test set: its file below the data folder, how its texts are read, and whether each is one sentence.

    Sentences count as found even where they are shorter than the runs of words that prose is compared by.
    """

    name: str
    path: str
    read: Callable[[Path], Iterator[str]]
    sentences: bool = False


def read_lines(path: Path) -> Iterator[str]:
    """Every line of a text."""
    with open_text(path) as file:
        yield from file


def read_fields(path: Path, fields: tuple[str, ...]) -> Iterator[str]:
    """The lines of the fields of every JSON line."""
    with open_text(path) as file:
        for row in map(json.loads, file):
            for field in fields:
                yield from row[field].split("\n")


def read_first_column(path: Path) -> Iterator[str]:
    """The text of every line of a text, a tab and a label, whatever the label."""
    with open_text(path) as file:
        for line in file:
            yield join_tokens(line.rpartition("\t")[0])


def read_held_out_sentences(path: Path) -> Iterator[str]:
    """The labelled sentences that fine-tuning keeps back."""
    texts = (review.text for review in read_labelled_lines(path))
    return (text for text in texts if is_held_out(text, HELD_OUT_SENTENCES))


def read_held_out_articles(path: Path) -> Iterator[str]:
    """Paragraphs and questions of the SQuAD articles that fine-tuning keeps back."""
    return _passages(path, lambda article: is_held_out(article, HELD_OUT_ARTICLES))


def read_all_articles(path: Path) -> Iterator[str]:
    """Paragraphs and questions of a file in the SQuAD layout."""
    return _passages(path, lambda article: True)


def _passages(path: Path, wanted: Callable[[str], bool]) -> Iterator[str]:
    for passage in read_squad(path, unanswerable=True):
        if wanted(passage.article):
            yield passage.context
            yield from (question for question, _ in passage.questions)


def _read_sst2(path: Path) -> Iterator[str]:
    return (review.text for review in read_sst2(path))


TEST_SETS = (
    HeldOutSet("Wikipedia held-out", "wikipedia_en_2015/heldout.jsonl.gz", partial(read_fields, fields=("text",))),
    HeldOutSet("WikiText-2 test", "wikitext2/wiki.test.raw.gz", read_lines),
    HeldOutSet("LAMBADA test", "lambada/lambada_test.jsonl.gz", partial(read_fields, fields=("text",))),
    HeldOutSet("BLiMP", "blimp/blimp.jsonl.gz", partial(read_fields, fields=("sentence_good", "sentence_bad")), True),
    HeldOutSet("SST-2 test (GLUE layout)", "sst2_glue/test.tsv.gz", _read_sst2, True),
    HeldOutSet("SST-2 test (sentences)", "sst2_sentences/test.tsv.gz", read_first_column, True),
    HeldOutSet("Amazon kept back", "reviews_uci/amazon_cells_labelled.txt", read_held_out_sentences, True),
    HeldOutSet("IMDb kept back", "reviews_uci/imdb_labelled.txt", read_held_out_sentences, True),
    HeldOutSet("Yelp kept back", "reviews_uci/yelp_labelled.txt", read_held_out_sentences, True),
    HeldOutSet("AG News test", "agnews/test.tsv.gz", read_first_column),
    HeldOutSet("SQuAD 1.1 dev kept back", "squad/dev-v1.1.json.gz", read_held_out_articles),
    HeldOutSet("SQuAD 2.0 dev kept back", "squad/dev-v2.0.json.gz", read_held_out_articles),
    HeldOutSet("CMRC 2018 dev", "cmrc2018/cmrc2018_dev.json.gz", read_all_articles),
)
