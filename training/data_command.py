"""The command `data`: builds the corpus. Imports nothing heavy until it runs."""

from pathlib import Path


def add_to(stages):
    """Adds the command to the stages of `python -m training`, and returns its parser."""
    data = stages.add_parser("data", help="build the pretraining corpus: tokenizer and token file")
    data.add_argument("--source", type=Path, required=True, help="folder of the source texts (see training/README.md)")
    data.add_argument("--out", type=Path, required=True, help="new folder for the corpus")
    data.add_argument("--vocabulary", type=int, default=4096, help="entries of the tokenizer (default 4096)")
    data.add_argument("--length", type=int, default=512, help="the model's context in tokens (default 512)")
    data.add_argument("--seed", type=int, default=0)
    data.set_defaults(run=run)
    return data


def run(options) -> None:
    """`data`, with the options parsed."""
    from models.progress import terminal_bar
    from training.corpus import build_corpus

    manifest = build_corpus(
        options.source, options.out, options.vocabulary, options.length, options.seed, progress=terminal_bar()
    )
    print(f"{options.out}: {manifest['tokens']:,} tokens of {manifest['documents']:,} documents")
