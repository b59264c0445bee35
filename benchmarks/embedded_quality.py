"""What the embedded model can do, on texts that it was never trained on.

    python benchmarks/embedded_quality.py --source DATA [--model embedded]

`DATA` is the folder of `training/README.md`; of it this reads the held-out Wikipedia articles, WikiText-2 test, SST-2
test, and the SQuAD articles that training keeps back. Stores benchmarks/results/embedded_quality/results.json, from
which `benchmarks/publish.py` fills the model card.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals.answers import exact_match, token_f1
from evals.contenders import Contenders
from evals.data import Text
from evals.environment import environment
from evals.likelihood import score_choices
from evals.measurement import Measurement
from evals.perplexity import perplexity
from evals.results import SCHEMA_VERSION, Result, write_results
from evals.statistics import mean
from models import Loaded
from models.command import add_debug, finish
from models.decoding import Generation
from models.progress import Progress, part, terminal_bar
from models.sampling import Sampling
from training.formats import SENTIMENT_LABELS, STOP, classification_prompt, completion, question_prompt
from training.instructions import passages, reviews
from training.sources import Review, open_text, read_sst2

OUT = Path(__file__).parent / "results" / "embedded_quality"
ANSWER_TOKENS = 32
QUESTIONS_PER_PASSAGE = 2
PROMPTS = (
    "The city lies on the river",
    "In the nineteenth century, the railway",
    "She opened the door and",
    "The species is found in",
)


def language(loaded: Loaded, root: Path, progress: Progress) -> Iterator[Measurement]:
    """Perplexity and bits per byte on the held-out Wikipedia articles and on WikiText-2 test (raw)."""
    with open_text(root / "wikipedia_en_2015/heldout.jsonl.gz") as file:
        wikipedia = "\n\n".join(json.loads(line)["text"] for line in file)
    with open_text(root / "wikitext2/wiki.test.raw.gz") as file:
        wikitext = file.read()
    texts = (Text("wikipedia_heldout", wikipedia), Text("wikitext2_test_raw", wikitext))
    for number, text in enumerate(texts):
        for measured in perplexity(loaded, text, progress=part(progress, number / 2, (number + 1) / 2)):
            yield replace(measured, metric=f"{text.id} {measured.metric}")


def sentiment(loaded: Loaded, root: Path, progress: Progress) -> Iterator[Measurement]:
    """Accuracy on SST-2 test and on the review sentences kept back, by the log-likelihood of the two label words."""
    sets = {"sst2_test": list(read_sst2(root / "sst2_glue/test.tsv.gz")), "uci_heldout": list(reviews(root, held_out=True))}
    for number, (name, rows) in enumerate(sets.items()):
        correct = [classified(loaded, review, part(progress, number / 2, (number + 1) / 2)) for review in rows]
        yield averaged(f"{name} accuracy", correct, {"name": "log-likelihood of the label word"})


def classified(loaded: Loaded, review: Review, progress: Progress) -> float:
    """1.0 if the label word of the review is the likelier one."""
    progress(0.0, "reviews")
    choices = [completion(label) for label in SENTIMENT_LABELS]
    scores = score_choices(loaded.model, loaded.tokenizer, classification_prompt(review.text), choices)
    return float(np.argmax([score.log_likelihood for score in scores]) == review.label)


def questions(loaded: Loaded, root: Path, progress: Progress) -> Iterator[Measurement]:
    """SQuAD exact match and F1 on the articles kept back: the first questions of each paragraph, greedy answers."""
    asked = [(p.context, *q) for p in passages(root, held_out=True) for q in p.questions[:QUESTIONS_PER_PASSAGE]]
    room = loaded.description.context - ANSWER_TOKENS
    exact, f1 = [], []
    for number, (context, question, references) in enumerate(asked):
        progress(number / len(asked), "questions")
        prompt = loaded.tokenizer(question_prompt(context, question), verbose=False)["input_ids"]
        # A context that is too long for the model counts as a wrong answer: leaving it out would flatter.
        answer = write(loaded, prompt, ANSWER_TOKENS, STOP) if len(prompt) <= room else ""
        exact.append(exact_match(answer, references))
        f1.append(token_f1(answer, references))
    yield averaged("squad_heldout exact_match", exact, {"name": "greedy"})
    yield averaged("squad_heldout f1", f1, {"name": "greedy"})


def write(loaded: Loaded, prompt: str | list[int], tokens: int, *stop: str) -> str:
    """What the model writes on, greedily."""
    return Generation(loaded.model, loaded.tokenizer, prompt, Sampling(tokens, stop=stop)).run().text


def averaged(metric: str, values: list[float], protocol: dict) -> Measurement:
    """The mean of scores in 0..1 with its 95 % interval."""
    estimate = mean(np.array(values))
    return Measurement(metric, estimate.value, "", estimate.interval, estimate.stderr, estimate.n, protocol)


def measure(model: str, root: Path) -> None:
    """Measures and stores."""
    contenders = Contenders([model])
    (loaded,) = contenders.hold(model)
    progress = terminal_bar()
    groups = {"language": language, "sentiment": sentiment, "questions": questions}
    results = []
    for number, (group, run) in enumerate(groups.items()):
        share = part(progress, number / len(groups), (number + 1) / len(groups))
        for measured in run(loaded, root, share):
            results.append(Result(model, group, measured).as_dict())
            print(f"{measured.metric:36} {measured}  (n = {measured.n})", flush=True)
    document = {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": f"python benchmarks/embedded_quality.py --source DATA --model {model}",
        "environment": environment(),
        "settings": {"metrics": list(groups)},
        "models": [contenders.record(model)],
        "results": results,
        "notes": [],
        "samples": {prompt: write(loaded, prompt, 60) for prompt in PROMPTS},
    }
    write_results(OUT, document)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder of the texts")
    parser.add_argument("--model", default="embedded")
    add_debug(parser)
    options = parser.parse_args()
    return finish(lambda: measure(options.model, options.source), options.debug)


if __name__ == "__main__":
    sys.exit(main())
