"""Every set that the project measures on, where it lies below the data folder: nothing of them may be calibrated on.

A set is all files of a folder (or one of them), and its texts are all strings in these, whatever their fields.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from evals import texts as own_texts
from training.sources import join_tokens, open_text
from training.test_sets import HeldOutSet

BINARY = (".zip",)


def read_all(path: Path) -> Iterator[str]:
    """Every line of every string in a file, or in all files of a folder, .json, .jsonl, .csv, .tsv or text."""
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.suffix == ".py" or file.is_dir():
            continue
        for text in _strings(file):
            for line in text.split("\n"):
                yield line
                if " n't " in line or " ." in line:  # of a treebank, as people write it
                    yield join_tokens(line)


def _strings(file: Path) -> Iterator[str]:
    kind = Path(file.name.removesuffix(".gz").removesuffix(".xz")).suffix
    if file.suffix in BINARY:
        with zipfile.ZipFile(file) as packed:
            for name in packed.namelist():
                with packed.open(name) as raw:
                    yield from _cells(io.TextIOWrapper(raw, encoding="utf-8-sig"), ",")
        return
    with open_text(file) as lines:
        if kind == ".json":
            yield from _leaves(json.load(lines))
        elif kind == ".jsonl":
            for line in lines:
                yield from _leaves(json.loads(line))
        elif kind == ".csv":
            yield from _cells(lines, ",")
        elif kind == ".conll":  # a word a line, a blank line after a sentence
            for blank, words in groupby(lines, key=lambda line: not line.strip()):
                yield "" if blank else " ".join(word.split()[0] for word in words)
        else:
            for line in lines:
                yield from line.rstrip("\n").split("\t")


def _cells(lines, delimiter: str) -> Iterator[str]:
    for row in csv.reader(lines, delimiter=delimiter):
        yield from row


def _leaves(value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)


# Of these, sentences of 6 words or more are looked for as a whole, too.
SENTENCES = (
    "agnews", "arc_challenge", "blimp", "boolq", "c3", "chnsenticorp_htl", "cmrc2018", "commonsense_qa", "dialogsum",
    "gsm8k", "hellaswag", "ifeval", "mmlu", "mt_bench", "multi30k", "openbookqa", "piqa", "reviews_uci", "squad",
    "sst2_glue", "sst2_sentences", "tatoeba_en_zh", "waimai_10k", "winogrande",
)  # fmt: skip
RUNNING = (
    "c4_sample", "dolly", "lambada", "online_shopping_10_cats", "tinystories", "wikiann_en", "wikitext2",
)  # fmt: skip
MEASURED = (
    *(HeldOutSet(name, name, read_all, True) for name in SENTENCES),
    *(HeldOutSet(name, name, read_all) for name in RUNNING),
    HeldOutSet("wikipedia_en_2015, held out", "wikipedia_en_2015/heldout.jsonl.gz", read_all),
)
OWN_TEXTS = HeldOutSet("texts of evals", str(Path(own_texts.__file__).parent.resolve()), read_all, True)
