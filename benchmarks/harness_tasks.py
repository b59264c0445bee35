"""The standard sets beside lm-evaluation-harness: the same model, the same rows, answer by answer.

    pip install -r requirements-benchmarks.txt
    python benchmarks/harness_tasks.py --source DATA [--model smollm2] [--rows 300] [--dtype float32] [--tasks A B]

Our tasks read the files of DATA; the harness runs its own tasks, as its release has them, on the same rows in the
layout of the Hub. Both get the model already loaded. Compared are acc and acc_norm, every hit, and every log-likelihood. Each
task is stored as soon as it is measured in benchmarks/results/harness_tasks/results.json; one that is there under the
same protocol is not asked again, so that an interrupted run goes on.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from benchmarks.harness_parity import Theirs, timed
from benchmarks.parity import hub_layout
from benchmarks.real.quality import JUDGES, digest
from evals import task
from evals.asking.request_client import RequestClient
from evals.environment import environment
from models import load
from models.console.command import Parser, add_debug, finish
from models.console.progress import silent
from models.storage.files import read_json, write_json

OUT = Path(__file__).parent / "results" / "harness_tasks" / "results.json"
NAMES = {"accuracy": "acc", "accuracy_norm": "acc_norm"}
SUBJECT = "The following are multiple choice questions (with answers) about {{subject.replace('_', ' ')}}.\n\n"


DROPPED = (  # of the harness's entries: where its rows are, and examples
    "tag", "include", "training_split", "validation_split", "fewshot_split", "fewshot_config", "dataset_name",
)  # fmt: skip


class Counterpart(NamedTuple):
    """The harness's task: its file below lm_eval/tasks, how a row looks to it, and what its entries are changed to."""

    file: str
    row: Callable
    changed: dict = {}


COUNTERPARTS = {
    "piqa": Counterpart("piqa/piqa.yaml", hub_layout.piqa),
    "hellaswag": Counterpart("hellaswag/hellaswag.yaml", hub_layout.hellaswag),
    "arc_challenge": Counterpart("arc/arc_challenge.yaml", hub_layout.question),
    "openbookqa": Counterpart("openbookqa/openbookqa.yaml", hub_layout.question),
    "winogrande": Counterpart("winogrande/default.yaml", hub_layout.winogrande),
    "commonsense_qa": Counterpart("commonsense_qa/default.yaml", hub_layout.question),
    "lambada": Counterpart("lambada/lambada_openai.yaml", hub_layout.lambada),
    # Of one file a subject, which differ in the line before the question: all rows in one task.
    "mmlu": Counterpart("mmlu/default/_default_template_yaml", hub_layout.mmlu, {"task": "mmlu"}),
}


def configuration(name: str) -> dict:
    """The harness's own configuration of a task, to be read from a file of rows."""
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    counterpart = COUNTERPARTS[name]
    found = load_yaml(Path(lm_eval.tasks.__file__).parent / counterpart.file) | counterpart.changed
    if name == "mmlu":
        found["doc_to_text"] = SUBJECT + found["doc_to_text"]
    kept = {key: value for key, value in found.items() if key not in DROPPED}
    return kept | {"dataset_path": "json", "test_split": "test"}


def agreement(name: str, theirs: Theirs, client: RequestClient, rows: list) -> dict:
    """How far the two differ on these rows of a task."""
    asked = task.find(name)
    judge = import_module(JUDGES[asked.metric])
    answers: list = []
    ours_seconds = timed(lambda: answers.extend(judge.answer(client, asked, rows, silent)))
    judged = [judge.judge(asked, row, given) for row, given in zip(rows, answers, strict=True)]
    reported: dict = {}
    config, made = configuration(name), [COUNTERPARTS[name].row(row) for row in rows]
    theirs_seconds = timed(lambda: reported.update(theirs.run(config, made)))
    samples = sorted(next(iter(reported["samples"].values())), key=lambda sample: sample["doc_id"])
    deltas = [
        abs(one - other)
        for given, sample in zip(answers, samples, strict=True)
        for one, other in zip(_ours(given), _theirs(sample), strict=True)
    ]
    found = {
        "rows": len(rows),
        "asked": digest(asked, rows),
        "log_likelihoods": len(deltas),
        "largest_difference_nats": max(deltas),
        "ours_seconds": round(ours_seconds, 1),
        "theirs_seconds": round(theirs_seconds, 1),
    }
    for kind, key in NAMES.items():
        if key in samples[0] and kind in judged[0]:
            pairs = [(one[kind][0], float(sample[key])) for one, sample in zip(judged, samples, strict=True)]
            found[kind] = {
                "ours": float(np.mean([one for one, _ in pairs])),
                "theirs": float(np.mean([other for _, other in pairs])),
                "answers_differ": sum(one != other for one, other in pairs),
            }
    return found


def _ours(given) -> list[float]:
    return [entry["log_likelihood"] for entry in (given if isinstance(given, list) else [given])]


def _theirs(sample: dict) -> list[float]:
    return [float(response[0]) for response in sample["filtered_resps"]]


def run(options: argparse.Namespace) -> None:
    """Measures task by task, and stores each."""
    protocol = {"model": options.model, "rows": options.rows}
    document = read_json(options.out) if options.out.is_file() else {}
    if document.get("protocol") != protocol:
        document = {"schema_version": 1, "protocol": protocol, "results": {}}
    stored = document["results"].setdefault(options.dtype, {})
    due = [name for name in options.tasks or COUNTERPARTS if options.force or name not in stored]
    if not due:
        print("Nothing is due: every task is stored.")
        return
    loaded = load(options.model, device="cpu", dtype=options.dtype)
    client = RequestClient("model", loaded.tokenizer, loaded.model.config, "", lambda: loaded)
    with tempfile.TemporaryDirectory() as folder:
        theirs = Theirs(loaded, Path(folder))
        for name in due:
            found = agreement(name, theirs, client, task.find(name).rows(options.source, options.rows))
            stored[name] = found
            about = {"command": command_line(), "environment": environment() | {"lm_eval": version("lm_eval")}}
            write_json(options.out, document | about)
            hits = ", ".join(f"{NAMES[kind]} {found[kind]}" for kind in NAMES if kind in found)
            print(f"{name}: {hits}, at most {found['largest_difference_nats']:.2g} nats apart", flush=True)


def main() -> int:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, metavar="DATA", help="folder of the tasks")
    parser.add_argument("--model", default="smollm2", help="MODEL (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=300, metavar="N", help="rows of each (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help="of the model (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", choices=COUNTERPARTS, metavar="TASK", help="only these")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="where results are stored")
    parser.add_argument("--force", action="store_true", help="ask tasks again that are stored")
    add_debug(parser)
    options = parser.parse_args()
    return finish(lambda: run(options), options.debug)


if __name__ == "__main__":
    sys.exit(main())
