"""The pretraining stream: documents shuffled, encoded, and written as one file of 16-bit token ids.

A corpus folder holds `tokens.bin` (little-endian uint16, `<|endoftext|>` before each document), the tokenizer in
`tokenizer/`, and `manifest.json` with sources, licences, counts and hashes.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from models.errors import RequestError
from models.files import new_folder, read_json, sha256, write_json
from models.progress import Progress, silent
from training.sources import PRETRAINING, Source
from training.tokenizer import save_tokenizer, train_tokenizer

SHUFFLE_BUFFER = 4096  # documents; far more than one novel has pieces
ENCODE_BATCH = 256  # documents encoded at once, in parallel by the tokenizers library
EVERY_FOR_VOCABULARY = 6  # one document in so many trains the tokenizer


def build_corpus(
    root: Path,
    out: Path,
    vocabulary: int = 4096,
    context: int = 512,
    seed: int = 0,
    sources: tuple[Source, ...] = PRETRAINING,
    progress: Progress | None = None,
) -> dict:
    """Builds a corpus folder from the sources below `root` and returns its manifest.

    Raises RequestError if a source is missing or `out` is taken. Nothing is left behind by an interrupted run.
    """
    progress = progress or silent
    with new_folder(out) as folder:
        progress(0.0, "training the tokenizer")
        sample = islice(_documents(root, sources, seed), None, None, EVERY_FOR_VOCABULARY)
        tokenizer = train_tokenizer(sample, vocabulary)
        save_tokenizer(tokenizer, folder / "tokenizer", context)
        counts = dict.fromkeys(("documents", "characters", "bytes", "tokens"), 0)
        total = sum((Path(root) / source.path).stat().st_size for source in sources) * 3.5  # xz packs about 3.5 to 1
        with open(folder / "tokens.bin", "wb") as file:
            for batch in _batches(_documents(root, sources, seed), ENCODE_BATCH):
                encoded = tokenizer(batch, add_special_tokens=True, return_attention_mask=False)["input_ids"]
                ids = np.fromiter(chain.from_iterable(encoded), dtype="<u2")
                file.write(ids.tobytes())
                counts["documents"] += len(batch)
                counts["characters"] += sum(map(len, batch))
                counts["bytes"] += sum(len(text.encode()) for text in batch)
                counts["tokens"] += len(ids)
                progress(min(0.2 + 0.8 * counts["bytes"] / total, 0.99), f"{counts['tokens']:,} tokens encoded")
        manifest = {
            "schema_version": 1,
            "seed": seed,
            "vocabulary": len(tokenizer),
            **counts,
            "sha256": sha256(folder / "tokens.bin"),
            "sources": [
                {"name": s.name, "file": s.path, "licence": s.licence, "sha256": sha256(Path(root) / s.path)}
                for s in sources
            ],
        }
        write_json(folder / "manifest.json", manifest)
    progress(1.0, f"{manifest['tokens']:,} tokens in {out}")
    return manifest


class Corpus:
    """A corpus folder opened for reading: memory-mapped tokens, manifest and tokenizer."""

    def __init__(self, folder: Path | str):
        folder = Path(folder)
        self.manifest = read_json(folder / "manifest.json")
        size = (folder / "tokens.bin").stat().st_size
        if size != 2 * self.manifest["tokens"]:
            raise RequestError(f"{folder}/tokens.bin has {size} bytes, not 2 x {self.manifest['tokens']}: build it again.")
        self.tokens = np.memmap(folder / "tokens.bin", dtype="<u2", mode="r")
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")

    def windows(self, length: int, seed: int) -> Iterator[np.ndarray]:
        """Endless windows of `length + 1` token ids (int64), each epoch in a new order given by the seed.

        Consecutive windows share one token, so that every token but the first is once a target.
        """
        count = (len(self.tokens) - 1) // length
        if count < 1:
            raise RequestError(f"The corpus has {len(self.tokens)} tokens, fewer than one window of {length}.")
        for epoch in range(1 << 30):
            for index in np.random.default_rng((seed, epoch)).permutation(count):
                start = int(index) * length
                yield self.tokens[start : start + length + 1].astype(np.int64)


def _documents(root: Path, sources: tuple[Source, ...], seed: int) -> Iterator[str]:
    """All documents in an order that mixes the sources in proportion to their sizes."""
    generator = random.Random(seed)
    weights = [(Path(root) / s.path).stat().st_size if (Path(root) / s.path).exists() else 0 for s in sources]
    streams = [_shuffled(source.open(root), generator) for source in sources]
    while streams:
        index = generator.choices(range(len(streams)), weights)[0]
        document = next(streams[index], None)
        if document is None:
            del streams[index], weights[index]
        else:
            yield document


def _shuffled(items: Iterable[str], generator: random.Random) -> Iterator[str]:
    buffer: list[str] = []
    for item in items:
        if len(buffer) < SHUFFLE_BUFFER:
            buffer.append(item)
            continue
        index = generator.randrange(SHUFFLE_BUFFER)
        buffer[index], item = item, buffer[index]
        yield item
    generator.shuffle(buffer)
    yield from buffer


def _batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
