"""The command `data`: builds the corpus. Imports nothing heavy until it runs."""

import os
from functools import partial
from pathlib import Path


def add_to(stages):
    """Adds the command to the stages of `python -m training`, and returns its parser."""
    data = stages.add_parser(
        "data",
        help="build the pretraining corpus: tokenizer and token files",
        description="Cleans, filters and deduplicates texts, cuts test sets out of them, trains a tokenizer and writes "
        "token shards with a manifest. Give the command again to go on with a build that was killed.",
    )
    data.add_argument("--source", type=Path, help="folder of the source texts and test sets (see training/README.md)")
    data.add_argument(
        "--text",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="build from these .txt, .jsonl, .csv or .tsv files (.gz, .xz) instead",
    )
    data.add_argument("--field", default="text", help="field or column of --text files with the text (default text)")
    data.add_argument("--licence", default="not stated", help="licence of the --text files, for the manifest")
    data.add_argument("--out", type=Path, required=True, help="new folder for the corpus")
    data.add_argument("--vocabulary", type=int, default=4096, help="entries of the tokenizer (default 4096)")
    data.add_argument("--length", type=int, default=512, help="the model's context in tokens (default 512)")
    data.add_argument("--language", choices=("en", "any"), default="en", help="keep English texts alone (default en)")
    data.add_argument("--minimum-words", type=int, default=50, help="shortest document in words (default 50)")
    data.add_argument("--workers", type=int, default=_cores(), help="processes at work (default all cores)")
    data.add_argument("--seed", type=int, default=0)
    data.set_defaults(run=run)
    return data


def run(options) -> None:
    """`data`, with the options parsed."""
    from models.console.progress import terminal_bar
    from models.errors import RequestError
    from training.build import Recipe, build_corpus
    from training.documents import kind_of, read_documents
    from training.filters import Limits
    from training.sources import PRETRAINING, Source
    from training.test_sets import TEST_SETS

    if not (options.source or options.text):
        raise RequestError("There is nothing to read: give --source FOLDER, --text FILE, or both.")
    sources = PRETRAINING
    if options.text:
        read = partial(read_documents, fields=(options.field,))
        sources = tuple(Source(file.name, str(file.absolute()), options.licence, read) for file in options.text)
        for file in options.text:
            kind_of(file)
    recipe = Recipe(
        sources=sources,
        test_sets=TEST_SETS if options.source else (),
        vocabulary=options.vocabulary,
        context=options.length,
        seed=options.seed,
        limits=Limits(options.minimum_words, options.language),
    )
    manifest = build_corpus(options.source or Path(), options.out, recipe, options.workers, terminal_bar())
    print(f"{options.out}: {manifest['tokens']:,} tokens of {manifest['documents']:,} documents")
    print("\n".join(summary(manifest["report"])))


def summary(report: dict) -> list[str]:
    """What was left out, a line for each reason."""
    lines = [f"  {entry['documents']:,} dropped by the filter {name}" for name, entry in report["dropped"].items()]
    lines += [f"  {entry['documents']:,} {kind} duplicates" for kind, entry in report["duplicates"].items()]
    for name, entry in report["contamination"].items():
        found = f"{entry['documents_dropped']:,} dropped and {entry['lines']:,} lines cut or dropped in all"
        lines.append(f"  {name}: {found}")
    if report["broken_lines"]:
        first = report["broken"][0]
        place = f"{first['file']}, line {first['line']}: {first['reason']}"
        lines.append(f"  {report['broken_lines']:,} broken lines, first {place}")
    if report["absent_test_sets"]:
        lines.append(f"  not looked for, because not below --source: {', '.join(report['absent_test_sets'])}")
    return lines


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
