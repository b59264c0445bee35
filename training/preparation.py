"""What happens to a document before it is compared with others: cleaned, filtered, test texts cut out, fingerprinted.

Batches are prepared by several processes and come back in their order, so that their number changes nothing.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from training.cleaning import clean
from training.contamination import HeldOutTexts, Passage, without
from training.documents import Broken
from training.duplicates import Fingerprint, fingerprint
from training.filters import Limits, why_dropped
from training.words import Document


@dataclass(frozen=True)
class Prepared:
    """A document after preparation. Without a fingerprint it is dropped: by a filter, or for its test texts."""

    text: str
    fingerprint: Fingerprint | None = None
    dropped: tuple[str, str] | None = None  # the filter and its reason
    passages: tuple[Passage, ...] = ()  # the lines cut out of it


class Preparation:
    """The steps before comparison, with what they need: the limits, and the HeldOutTexts in `folder`."""

    def __init__(self, folder: Path, limits: Limits):
        self.test_texts = HeldOutTexts.load(folder)
        self.limits = limits

    def prepare(self, item: str | Broken) -> Prepared | Broken:
        """One document prepared; a broken line as it is."""
        if isinstance(item, Broken):
            return item
        document = Document(clean(item))
        if dropped := why_dropped(document, self.limits):
            return Prepared(document.text, dropped=dropped)
        passages = tuple(self.test_texts.find(document))
        if passages:
            rest = without(document, passages)
            if rest is None or len(rest.words) < self.limits.minimum_words:
                return Prepared(document.text, passages=passages)
            document = rest
        return Prepared(document.text, fingerprint(document), passages=passages)


Batch = tuple[int, list[str | Broken]]  # the number of its source, and its items
PreparedBatch = tuple[int, list[Prepared | Broken]]


def prepare_all(batches: Iterable[Batch], folder: Path, limits: Limits, workers: int) -> Iterator[PreparedBatch]:
    """Every batch prepared, in order; at most two batches for each of `workers` processes are under way."""
    if workers == 1:
        _start(folder, limits)
        yield from map(_prepare_batch, batches)
        return
    context = get_context("spawn")  # a fork would copy the locks of the tokenizer's threads
    with ProcessPoolExecutor(workers, context, _start, (folder, limits)) as pool:
        waiting = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(_prepare_batch, batch))
                if len(waiting) == 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


_preparation: Preparation  # of this process


def _start(folder: Path, limits: Limits) -> None:
    global _preparation
    _preparation = Preparation(folder, limits)
    if parent := parent_process():
        Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent) -> None:
    """Ends this worker when the build is killed: it would wait for its next batch for ever."""
    parent.join()
    os._exit(1)


def _prepare_batch(batch: Batch) -> PreparedBatch:
    source, items = batch
    return source, [_preparation.prepare(item) for item in items]
