"""A corpus folder: token shards, the tokenizer in `tokenizer/`, and `manifest.json`. `training.build` makes it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.errors import RequestError
from models.storage.files import read_json
from training.permutation import Permutation
from training.shards import TokenStream

SCHEMA = 2


class Corpus:
    """A corpus folder opened for reading: the manifest, the tokenizer, and all tokens as one memory-mapped stream.

    `<|endoftext|>` stands before each document. Raises RequestError if a file is missing or not what was built.
    """

    def __init__(self, folder: Path | str):
        from transformers import AutoTokenizer

        folder = Path(folder)
        self.manifest = read_json(folder / "manifest.json")
        if self.manifest.get("schema_version") != SCHEMA:
            raise RequestError(f"{folder} was built by another version: build it again with `python -m training data`.")
        self.tokens = TokenStream(folder, self.manifest["shards"], self.manifest["dtype"])
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")

    def windows(self, length: int, seed: int, start: int = 0, held_out: int = 0) -> Iterator[np.ndarray]:
        """Endless windows of `length + 1` token ids (int64), each epoch in a new order given by the seed.

        Consecutive windows of the text share one token, so that every token but the first is once a target. `start`
        windows are passed over, without being read: a run goes on where it stood. The last `held_out` windows of the
        text are never among them.
        """
        count = (len(self.tokens) - 1) // length - held_out
        if count < 1:
            raise RequestError(f"The corpus has {len(self.tokens)} tokens: fewer than 1 + {held_out} held out windows.")
        epoch, place = divmod(start, count)
        while True:
            order = Permutation(count, (seed, epoch))
            for index in range(place, count):
                begin = order[index] * length
                yield self.tokens[begin : begin + length + 1].astype(np.int64)
            epoch, place = epoch + 1, 0

    def held_out(self, length: int, count: int) -> list[np.ndarray]:
        """The last `count` windows of the text, as `windows` has them, in their order."""
        last = (len(self.tokens) - 1) // length
        begins = range((last - count) * length, last * length, length)
        return [self.tokens[begin : begin + length + 1].astype(np.int64) for begin in begins]
