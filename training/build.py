"""Building a corpus in stages that a killed run goes on from: documents gathered, tokenizer trained, shards written.

Until it is done, everything lies in `OUT.partial`; the finished folder then takes the name OUT. Memory is bounded by a
few batches of documents, the table of the test texts and the page cache of the store, whatever the corpus's size; the
disk holds the kept documents and their fingerprints besides the tokens. The same sources, options and library versions
give the same bytes, with any number of workers, and however often the build was killed.
"""

import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from models.console.differences import differences
from models.console.progress import Progress, part
from models.errors import RequestError
from models.storage.destination import try_folder
from models.storage.disk import explained
from models.storage.files import TEMPORARY, new_folder, real_path, sha256, write_json
from models.storage.reading import parse_object
from training.checkpoint import kept
from training.contamination import HeldOutTexts
from training.corpus import SCHEMA
from training.documents import Broken
from training.filters import Limits
from training.preparation import Batch, Prepared, prepare_all
from training.report import Report
from training.shards import SHARD_TOKENS, token_type, write_shard
from training.sources import PRETRAINING, Source
from training.store import Store, open_store
from training.test_sets import TEST_SETS, HeldOutSet
from training.tokenizer import save_tokenizer, train_tokenizer

BATCH = 1 << 20  # characters prepared at once
BATCH_DOCUMENTS = 4096
ENCODE_BATCH = 32  # documents encoded at once, in parallel by the tokenizers library
TOKENIZER_BYTES = 32 << 20  # about as much text trains the tokenizer
SMALLEST_VOCABULARY = 258  # every byte, and two special tokens
PACKED = {".xz": 3.8, ".gz": 2.7}  # bytes of prose in one byte of its file; for the progress only


@dataclass(frozen=True)
class Recipe:
    """What a corpus is made of.

    `sources` and `test_sets` lie below a root; test sets that are not there are named in the report. `context` is the
    model's, in tokens.
    """

    sources: tuple[Source, ...] = PRETRAINING
    test_sets: tuple[HeldOutSet, ...] = TEST_SETS
    vocabulary: int = 4096
    context: int = 512
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    shard_tokens: int = SHARD_TOKENS

    def __post_init__(self) -> None:
        if self.vocabulary < SMALLEST_VOCABULARY:
            raise RequestError(
                f"A vocabulary of bytes has at least {SMALLEST_VOCABULARY} entries, not {self.vocabulary}."
            )


def build_corpus(
    root: Path, out: Path, recipe: Recipe = Recipe(), workers: int = 1, progress: Progress | None = None
) -> dict:
    """Builds the corpus folder `out` from the files below `root` and returns its manifest.

    Goes on from `out`.partial if the same build was killed. Raises RequestError if a source is missing or unreadable,
    `out` is taken, nothing is left to train on, or the unfinished build is another one.
    """
    try_folder(out)
    if workers < 1:
        raise RequestError(f"The build needs at least one worker, not {workers}.")
    if find_spec("datasketch") is None:
        raise RequestError("Finding duplicates needs datasketch: pip install -r requirements-training.txt")
    identity = _identity(root, recipe)
    place = real_path(out)
    partial = place.with_name(f"{place.name}.partial")
    if not partial.exists():
        try_folder(partial)
    if partial.exists() and (others := differences(parse_object(partial / "build.json", "remove it"), identity)):
        raise RequestError(
            f"{partial} is the unfinished build of other sources or options ({others}): remove it, or use the same."
        )
    with kept(partial):
        return _built(root, place, partial, recipe, identity, workers, progress)


def _built(
    root: Path, out: Path, partial: Path, recipe: Recipe, identity: dict, workers: int, progress: Progress | None
) -> dict:
    """Builds in `partial`, or goes on there, gives the corpus the name `out`, and returns its manifest."""
    present = tuple(test for test in recipe.test_sets if (Path(root) / test.path).exists())
    if not partial.exists():
        with new_folder(partial) as folder:
            write_json(folder / "build.json", identity)
    with open_store(partial / "build.sqlite") as store:
        _clear_leftovers(partial)
        if not (partial / "test_texts").exists():
            HeldOutTexts.read(root, present).save(partial / "test_texts")
        try:
            report = _gather(store, root, partial / "test_texts", recipe, present, workers, part(progress, 0, 0.6))
        except RequestError:  # the sources must be mended, so that there is nothing to go on from
            shutil.rmtree(partial)
            raise
        tokenizer = _tokenizer(store, partial / "corpus" / "tokenizer", recipe, part(progress, 0.6, 0.65))
        shards = _shards(store, tokenizer, partial / "corpus", recipe, report.kept, part(progress, 0.65, 1))
        test_texts = HeldOutTexts.load(partial / "test_texts")
        manifest = _manifest(identity, tokenizer, shards, store, report, test_texts, present)
    write_json(partial / "corpus" / "manifest.json", manifest)
    with explained(out):
        if out.exists():
            out.rmdir()
        (partial / "corpus").replace(out)
    shutil.rmtree(partial)
    return manifest


def _clear_leftovers(partial: Path) -> None:
    """Removes what was half-written when a build was killed."""
    for leftover in list(partial.rglob(TEMPORARY)):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def _identity(root: Path, recipe: Recipe) -> dict:
    """Everything that the bytes of a corpus depend on."""
    sources = []
    for source in recipe.sources:
        file = source.file(root)
        facts = {"bytes": file.stat().st_size, "sha256": sha256(file)}
        facts |= {"fields": list(fields)} if (fields := source.fields) else {}
        sources.append({"name": source.name, "file": source.label, "licence": source.licence} | facts)
    files = {test.name: Path(root) / test.path for test in recipe.test_sets}
    return {
        "seed": recipe.seed,
        "vocabulary_asked": recipe.vocabulary,
        "context": recipe.context,
        "limits": asdict(recipe.limits),
        "shard_tokens": recipe.shard_tokens,
        "sources": sources,
        "test_sets": {name: sha256(file) if file.exists() else None for name, file in files.items()},
        "libraries": {name: version(name) for name in ("datasketch", "numpy", "tokenizers", "transformers")},
    }


def _gather(
    store: Store, root: Path, test_texts: Path, recipe: Recipe, present: tuple[HeldOutSet, ...], workers: int,
    progress: Progress,
) -> Report:  # fmt: skip
    """Reads all sources and keeps the documents worth training on, in the store."""
    report = Report(**store.read("report", asdict(Report(absent_test_sets=[
        test.name for test in recipe.test_sets if test not in present
    ]))))  # fmt: skip
    counts = store.read("sources", [{"items": 0, "characters": 0, "kept": 0} for _ in recipe.sources])
    names = [test.name for test in present]
    files = [source.file(root) for source in recipe.sources]
    expected = sum(file.stat().st_size * PACKED.get(file.suffix, 1) for file in files) or 1
    batches = _batches(root, recipe.sources, [count["items"] for count in counts])
    for index, items in prepare_all(batches, test_texts, recipe.limits, workers):
        count = counts[index]
        for item in items:
            count["items"] += 1
            if isinstance(item, Broken):
                report.add_broken(recipe.sources[index].label, item)
            else:
                count["characters"] += len(item.text)
                count["kept"] += _judge(item, store, report, names, recipe.seed)
        store.commit(report=asdict(report), sources=counts)
        fraction = sum(count["characters"] for count in counts) / expected
        progress(min(fraction, 0.99), f"{report.read:,} documents read, {report.kept:,} kept")
    if not report.kept:
        reasons = ", ".join(f"{name} {entry['documents']:,}" for name, entry in report.dropped.items()) or "none"
        raise RequestError(f"None of {report.read:,} documents is left to train on (dropped: {reasons}): see --help.")
    return report


def _batches(root: Path, sources: Iterable[Source], done: list[int]) -> Iterator[Batch]:
    """The items of all sources after those that are done, in batches of about BATCH characters."""
    for index, source in enumerate(sources):
        batch, size = [], 0
        for item in islice(source.open(root), done[index], None):
            batch.append(item)
            size += len(item) if isinstance(item, str) else 0
            if size >= BATCH or len(batch) == BATCH_DOCUMENTS:
                yield index, batch
                batch, size = [], 0
        if batch:
            yield index, batch


def _judge(item: Prepared, store: Store, report: Report, names: list[str], seed: int) -> bool:
    """Keeps a prepared document if no filter, test set or earlier document speaks against it."""
    number = report.read
    report.read += 1
    if item.dropped:
        report.add_dropped(*item.dropped, item.text)
        return False
    if item.passages:
        report.add_contaminated(names, item.passages, dropped=item.fingerprint is None)
        if item.fingerprint is None:
            return False
    if match := store.seen.find(item.fingerprint):
        report.add_duplicate(match, item.text, store.text(match.document))
        return False
    store.seen.add(number, item.fingerprint)
    store.keep(number, item.text, seed)
    report.kept += 1
    return True


def _tokenizer(store: Store, folder: Path, recipe: Recipe, progress: Progress):
    """The tokenizer, trained on an even sample of the kept documents unless it has been."""
    if not folder.exists():
        progress(0.0, "training the tokenizer")
        every = math.ceil(store.bytes() / TOKENIZER_BYTES)
        trained = train_tokenizer((text for _, text in islice(store.shuffled(), None, None, every)), recipe.vocabulary)
        with new_folder(folder) as temporary:
            save_tokenizer(trained, temporary, recipe.context)
    return AutoTokenizer.from_pretrained(folder)


def _shards(store: Store, tokenizer, folder: Path, recipe: Recipe, kept: int, progress: Progress) -> list[dict]:
    """All kept documents in shuffled order as token files; those that are finished stay as they are."""
    shards = store.read("shards", [])
    while (done := sum(shard["documents"] for shard in shards)) < kept:
        counts = {"documents": 0, "characters": 0, "bytes": 0, "last": None}
        rows = store.shuffled(shards[-1]["last"] if shards else None)

        def encoded(counts=counts, rows=rows, done=done) -> Iterator[np.ndarray]:
            tokens = 0
            while tokens < recipe.shard_tokens and (batch := list(islice(rows, ENCODE_BATCH))):
                texts = [text for _, text in batch]
                ids = tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
                counts["documents"] += len(texts)
                counts["characters"] += sum(map(len, texts))
                counts["bytes"] += sum(len(text.encode()) for text in texts)
                counts["last"] = batch[-1][0]
                yield np.fromiter(chain.from_iterable(ids), np.int64)
                tokens += sum(map(len, ids))
                progress(min((done + counts["documents"]) / kept, 0.99), f"shard {len(shards) + 1}, {tokens:,} tokens")

        path = folder / f"tokens-{len(shards):05}.bin"
        shards.append(write_shard(path, encoded(), token_type(len(tokenizer))) | counts)
        store.commit(shards=shards)
    return shards


def _manifest(
    identity: dict, tokenizer, shards: list[dict], store: Store, report: Report, test_texts: HeldOutTexts,
    present: tuple[HeldOutSet, ...],
) -> dict:  # fmt: skip
    counts = store.read("sources", [])
    sources = [source | count for source, count in zip(identity["sources"], counts, strict=True)]
    totals = {name: sum(shard[name] for shard in shards) for name in ("documents", "characters", "bytes", "tokens")}
    runs = {test.name: {"runs": test_texts.count(index)} for index, test in enumerate(present)}
    return {
        "schema_version": SCHEMA,
        **identity,
        "vocabulary": len(tokenizer),
        "dtype": token_type(len(tokenizer)),
        **totals,
        "shards": [{name: shard[name] for name in ("file", "tokens", "sha256")} for shard in shards],
        "sources": sources,
        "report": asdict(report) | {"test_sets": runs},
    }
