"""Ours against lm-evaluation-harness: the same model, the same questions and documents, in one run.

    pip install -r requirements-benchmarks.txt
    python benchmarks/harness_parity.py [--model embedded] [--source DATA] [--questions 200] [--repeats 5]

Questions with four answers to choose from are made of the SQuAD questions below DATA, or without it of those that ship:
the right answer and three of other questions on the same passage. Only those that fit the context whole are asked: the
two cut others differently. Documents are the shipped prose, cut at its pieces.
Both sides get the model in fp32, already loaded, and score in batches. Compared are: every choice's log-likelihood, acc
and acc_norm; word and byte perplexity and bits per byte; the seconds of the four-choice questions, in turns, the cache
of ours off; and, each in fresh processes, the seconds until the first of the model's files is loaded, and those of
`--help`. Stores benchmarks/results/harness_parity/results.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals import statistics
from evals.environment import environment
from evals.rows.rows import read_rows
from evals.task import Task
from evals.texts import prose, questions
from models import load
from models.source import locate
from models.storage.files import write_json

OUT = Path(__file__).parent / "results" / "harness_parity" / "results.json"
PROMPT = "Context: {context}\nQuestion: {question}\nAnswer:"
CHOICES = 4
BATCH = 16  # of the other harness; the fastest of 1, 4, 16 and 64 here
HARNESS_CHOICE = {
    "task": "four_choices",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": PROMPT.replace("{", "{{").replace("}", "}}"),
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{label}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
HARNESS_TEXT = {
    "task": "documents",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
}
# Starts as a person would, and stops where the first of the model's own files is loaded: tokenizer or configuration.
OUR_START = """
import sys
import evals.model_pool
def reached(*words):
    import os
    os._exit(0)
evals.model_pool.load = evals.model_pool.load_tokenizer = reached
from evals.__main__ import main
sys.argv = ["evals", "run", {model!r}, "--tasks", "reviews_en", "--cache", "none", "--out", {out!r}]
main()
"""
THEIR_START = """
import os, sys
import lm_eval.models.huggingface as huggingface
def reached(*words, **options):
    os._exit(0)
huggingface.HFLM._get_config = reached
sys.argv = ["lm_eval", "run", "--model", "hf", "--model_args", "pretrained={folder}", "--tasks", {task!r}, "--device", "cpu"]
from lm_eval.__main__ import cli_evaluate
cli_evaluate()
"""


def four_choices(source: Path | None, most: int, fits: Callable[[str], bool]) -> list[dict]:
    """Rows of context, question, four choices and the number of the right one, the same for the same source."""
    rows = read_rows(source / "squad/dev-v1.1.json.gz", "squad") if source else questions()
    by_context = defaultdict(list)
    for row in rows:
        by_context[row["context"]].append(row)
    made = []
    for context, asked in by_context.items():
        answers = list(dict.fromkeys(row["answers"][0] for row in asked))
        if len(answers) < CHOICES:
            continue
        for at, row in enumerate(asked):
            right = row["answers"][0]
            others = [answer for answer in answers if answer != right][: CHOICES - 1]
            place = (len(made) + at) % CHOICES
            choices = [*others[:place], right, *others[place:]]
            made_row = {"context": context, "question": row["question"], "choices": choices, "label": place}
            if len(choices) == CHOICES and all(fits(f"{PROMPT.format_map(made_row)} {choice}") for choice in choices):
                made.append(made_row)
    return made[:: max(1, len(made) // most)][:most]


def jsonl(path: Path, rows: list[dict]) -> str:
    """Writes rows as JSON lines; returns the path."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


class Theirs:
    """lm-evaluation-harness on a model that is loaded."""

    def __init__(self, loaded, folder: Path):
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        self.model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=BATCH, device="cpu")
        self.manager, self.folder = TaskManager(include_defaults=False), folder

    def run(self, config: dict, rows: list[dict]) -> dict:
        """The result of `simple_evaluate` on these rows."""
        from lm_eval import simple_evaluate

        file = jsonl(self.folder / f"{config['task']}.jsonl", rows)
        task = config | {"dataset_kwargs": {"data_files": {"test": file}, "cache_dir": str(self.folder / "cache")}}
        return simple_evaluate(model=self.model, tasks=[task], bootstrap_iters=0, task_manager=self.manager)


class Ours:
    """Espalier's evals on a model that is loaded."""

    def __init__(self, loaded):
        from evals.asking.request_client import RequestClient

        self.loaded = loaded
        self.client = RequestClient("model", loaded.tokenizer, loaded.model.config, "", lambda: loaded)
        self.task = Task("four", "", "choice", {}, PROMPT, options={"choices": "choices", "label": "label"})

    def choose(self, rows: list[dict]) -> list[dict]:
        """For every row the scores of its choices and what they count for."""
        from evals.judging import choices
        from models.console.progress import silent

        answers = choices.answer(self.client, self.task, rows, silent)
        judged = [choices.judge(self.task, row, given) for row, given in zip(rows, answers, strict=True)]
        return [{"scores": given} | hits for given, hits in zip(answers, judged, strict=True)]

    def perplexities(self, documents: list[str]) -> dict[str, float]:
        """Word and byte perplexity and bits per byte."""
        from evals.text_losses.data import Text
        from evals.text_losses.perplexity import perplexity

        text = Text("prose", "\n\n".join(documents), documents=tuple(documents))
        return {found.metric: found.value for found in perplexity(self.loaded, text, "lm-eval")}


def agreement(ours: list[dict], theirs: dict) -> dict:
    """How far the two differ on the four-choice questions."""
    samples = sorted(theirs["samples"]["four_choices"], key=lambda sample: sample["doc_id"])
    deltas = [
        abs(float(response[0]) - entry["log_likelihood"])
        for sample, row in zip(samples, ours, strict=True)
        for response, entry in zip(sample["filtered_resps"], row["scores"], strict=True)
    ]
    reported = theirs["results"]["four_choices"]
    found = {"largest_difference_nats": max(deltas), "choices": len(deltas)}
    for name, key in (("accuracy", "acc,none"), ("accuracy_norm", "acc_norm,none")):
        found[name] = {"ours": float(np.mean([row[name][0] for row in ours])), "theirs": reported[key]}
        field = key.split(",")[0]
        found[name]["answers_alike"] = all(
            row[name][0] == sample[field] for row, sample in zip(ours, samples, strict=True)
        )
    return found


def timed(work) -> float:
    """The seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(theirs: list[float], ours: list[float]) -> dict:
    """Medians and their ratio, theirs over ours, with its interval."""
    found = statistics.ratio_of_medians(np.array(theirs), np.array(ours))
    return {
        "ours_seconds": ours,
        "theirs_seconds": theirs,
        "ours_median": float(np.median(ours)),
        "theirs_median": float(np.median(theirs)),
        "ratio": found.value,
        "interval": found.interval,
    }


def starts(model: str, folder: Path, rows: list[dict], repeats: int) -> dict:
    """Seconds of fresh processes until the first of the model's files is loaded, and of `--help`."""
    config = HARNESS_CHOICE | {"dataset_kwargs": {"data_files": {"test": jsonl(folder / "start.jsonl", rows[:20])}}}
    (folder / "start.yaml").write_text(json.dumps(config))  # JSON is YAML
    here = {
        "model": model,
        "out": str(folder / "out"),
        "folder": str(locate(model).folder),
        "task": str(folder / "start.yaml"),
    }
    commands = {
        "start": {
            side: [sys.executable, "-c", code.format(**here)]
            for side, code in (("ours", OUR_START), ("theirs", THEIR_START))
        },
        "help": {
            "ours": [sys.executable, "-m", "evals", "--help"],
            "theirs": [sys.executable, "-m", "lm_eval", "--help"],
        },
    }
    found = {}
    for what, sides in commands.items():
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for turn in range(-1, repeats):
            for side, command in sides.items():
                taken = timed(
                    lambda command=command: subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
                )
                if turn >= 0:
                    seconds[side].append(taken)
        found[what] = ratio(seconds["theirs"], seconds["ours"])
    return found


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--source", type=Path, help="the data folder of training/README.md")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    loaded = load(options.model, dtype="float32")

    def fits(text: str) -> bool:
        return len(loaded.tokenizer(text, verbose=False)["input_ids"]) <= loaded.description.context

    rows = four_choices(options.source, options.questions, fits)
    documents = [{"text": piece} for piece in prose().split("\n\n") if len(piece) > 200]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        theirs, ours = Theirs(loaded, folder), Ours(loaded)
        agreed = agreement(ours.choose(rows), theirs.run(HARNESS_CHOICE, rows))
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(options.repeats):
            seconds["theirs"].append(timed(lambda: theirs.run(HARNESS_CHOICE, rows)))
            seconds["ours"].append(timed(lambda: ours.choose(rows)))
        reported = theirs.run(HARNESS_TEXT, documents)["results"]["documents"]
        mine = ours.perplexities([row["text"] for row in documents])
        names = ("word_perplexity", "byte_perplexity", "bits_per_byte")
        texts = {name: {"ours": mine[name], "theirs": reported[f"{name},none"]} for name in names}
        for entry in texts.values():
            entry["relative_difference"] = abs(entry["ours"] / entry["theirs"] - 1)
        results = {"choices": agreed, "speed": ratio(seconds["theirs"], seconds["ours"]), "texts": texts}
        results |= starts(options.model, folder, rows, options.repeats)
    print(json.dumps({name: found for name, found in results.items()}, indent=1))
    from importlib.metadata import version

    source = "SQuAD 1.1" if options.source else "questions that ship"
    document = {
        "schema_version": 1,
        "command": f"python benchmarks/harness_parity.py --model {options.model}{' --source DATA' * bool(options.source)}"
        f" --questions {options.questions} --repeats {options.repeats}",
        "environment": environment() | {"lm_eval": version("lm_eval")},
        "protocol": {"model": options.model, "dtype": "float32", "questions": len(rows), "made_of": source, "batch": BATCH,
                     "documents": len(documents)},
        "results": results,
    }  # fmt: skip
    write_json(OUT, document)


if __name__ == "__main__":
    main()
