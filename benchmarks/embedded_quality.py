"""What the embedded model can do, on texts that it was never trained on.

    python benchmarks/embedded_quality.py --source DATA [--model embedded] [--out FOLDER] [--quick]

`DATA` is the folder of `training/README.md`, with the test sets below it: the held-out Wikipedia articles, WikiText-2
test, BLiMP, LAMBADA, SST-2 test, and the review sentences and SQuAD articles that training keeps back. Each group of
measures is a file of benchmarks/quality/. Stores results.json under benchmarks/results/embedded_quality/, from which
`benchmarks/publish.py` fills the model card; any other model, and a quick look, needs a folder of its own (--out).
"""

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from models.command import Parser, add_debug, finish
from models.errors import RequestError

OUT = Path(__file__).parent / "results" / "embedded_quality"


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
    from benchmarks.quality import grammar, language, last_words, questions, sentiment
    from benchmarks.quality.samples import samples
    from evals.contenders import Contenders
    from evals.environment import environment
    from evals.results import SCHEMA_VERSION, Result, write_results
    from models.progress import part, terminal_bar

    groups = {each.__name__.rpartition(".")[2]: each for each in (language, grammar, last_words, sentiment, questions)}
    if missing := [file for group in groups.values() for file in group.FILES if not (source / file).is_file()]:
        raise RequestError(f"{source / missing[0]} does not exist: --source must name the folder above {missing[0]}.")
    contenders = Contenders([options.model])
    (loaded,) = contenders.hold(options.model)
    progress = terminal_bar()
    results = []
    for number, (name, group) in enumerate(groups.items()):
        share = part(progress, number / len(groups), (number + 1) / len(groups))
        for measured in group.measure(loaded, source, options.quick, share):
            results.append(Result(options.model, name, measured).as_dict())
            print(f"{measured.metric:48} {measured}  (n = {measured.n})", flush=True)
    document = {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": f"python benchmarks/embedded_quality.py --source DATA --model {options.model}"
        + " --quick" * options.quick,
        "environment": environment(),
        "settings": {"metrics": list(groups), "quick": options.quick},
        "models": [contenders.record(options.model)],
        "results": results,
        "notes": [],
        "samples": samples(loaded, source),
    }
    progress(1.0, f"stored {write_results(out, document)}")


def main() -> int:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, metavar="DATA", help="folder of the texts")
    parser.add_argument("--model", default="embedded", help="`embedded`, a folder, or a Hub id")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results.json goes; needed for another model")
    parser.add_argument("--quick", action="store_true", help="a few hundred examples of each set; needs --out")
    add_debug(parser)
    options = parser.parse_args()
    return finish(lambda: measure(options), options.debug)


if __name__ == "__main__":
    sys.exit(main())
