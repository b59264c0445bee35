"""What the embedded model can do, on texts that it was never trained on.

    python benchmarks/embedded_quality.py --source DATA [--model embedded] [--out FOLDER] [--quick]

`DATA` is the folder of `training/README.md`, with the test sets below it. Two runs of `evals`, one for each text of the
perplexity, the second with the tasks; what they find is stored as one results.json under
benchmarks/results/embedded_quality/, with samples of what the model writes (benchmarks/quality/samples.py), and
`benchmarks/publish.py` fills the model card from it. Any other model, and a quick look, needs a folder of its own
(--out). Answers are kept in the cache of `evals`: a run that was cut off goes on when it is given again.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from models.console.command import Parser, add_debug, finish
from models.errors import RequestError

OUT = Path(__file__).parent / "results" / "embedded_quality"
WIKIPEDIA = "wikipedia_en_2015/heldout.jsonl.gz"
WIKITEXT = "wikitext2/wiki.test.raw.gz"
TASKS = ("sst2", "uci_kept_back", "squad_kept_back", "blimp", "lambada", "reviews_en", "questions_en")
FIRST_SHARE, RUNS_SHARE = 0.2, 0.98  # of the progress: when the first run ends, and the second


def destination(options: argparse.Namespace) -> Path:
    """Where the results go. RequestError where they would pass for the embedded model's."""
    published = options.model == "embedded" and not options.quick
    if options.out is None and not published:
        raise RequestError("--out is missing: only the whole measurement of `embedded` has a place of its own.")
    out = options.out or OUT
    if not published and out.resolve() == OUT.resolve():
        raise RequestError(f"{out} holds the published results of `embedded`: choose another folder.")
    return out


def measure(options: argparse.Namespace) -> None:
    """Measures and stores."""
    out, source = destination(options), options.source
    texts = [source / name for name in (WIKIPEDIA, WIKITEXT)]
    check(source, texts)
    from benchmarks.quality.samples import samples
    from evals import evaluate_models
    from evals.runs.results import Result, write_results
    from models import load
    from models.console.progress import part, terminal_bar

    progress = terminal_bar()
    command = f"python benchmarks/embedded_quality.py --source DATA --model {options.model}{' --quick' * options.quick}"
    runs = [
        evaluate_models(
            [options.model],
            metrics=["perplexity"],
            data=str(text),
            tasks=tasks,
            source=source,
            quick=options.quick,
            progress=part(progress, *share),
            command=command,
        )
        for text, tasks, share in zip(texts, ((), TASKS), ((0, FIRST_SHARE), (FIRST_SHARE, RUNS_SHARE)), strict=True)
    ]
    progress(RUNS_SHARE, "samples")
    document = together(*runs) | {"samples": samples(load(options.model), source)}
    for result in map(Result.from_dict, document["results"]):
        measured = result.measurement
        name = f"{result.task or measured.protocol['text']} {measured.metric}"
        print(f"{name:48} {measured}  (n = {measured.n})", flush=True)
    progress(1.0, f"stored {write_results(out, document)}")


def check(source: Path, texts: list[Path]) -> None:
    """RequestError if a set is missing: told at once, not when its turn comes."""
    from evals import task

    if missing := [text for text in texts if not text.is_file()]:
        raise RequestError(f"{missing[0]} does not exist: --source must name the folder of training/README.md.")
    for name in TASKS:
        task.find(name).rows(source, 1)


def together(first: dict, second: dict) -> dict:
    """Two results documents of the same model as one."""
    return second | {
        "settings": second["settings"] | {"data": [run["settings"]["data"] for run in (first, second)]},
        "results": first["results"] + second["results"],
        "seconds": first["seconds"] + second["seconds"],
        "notes": list(dict.fromkeys(first["notes"] + second["notes"])),
    }


def main() -> int:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, metavar="DATA", help="folder of the texts")
    parser.add_argument("--model", default="embedded", help="`embedded`, a folder, or a Hub id")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results.json goes; needed for another model")
    parser.add_argument("--quick", action="store_true", help="some of each set only; needs --out")
    add_debug(parser)
    options = parser.parse_args()
    return finish(lambda: measure(options), options.debug)


if __name__ == "__main__":
    sys.exit(main())
