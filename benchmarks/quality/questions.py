"""SQuAD exact match and F1 on the articles kept back, the context in the prompt, greedy answers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evals import statistics
from evals.answers import exact_match, token_f1
from evals.measurement import Measurement
from models import Loaded
from models.decoding import Generation
from models.progress import Progress
from models.sampling import Sampling
from training.formats import STOP, question_prompt
from training.instructions import passages
from training.sources import QUESTIONS, Passage

FILES = tuple(source.path for source in QUESTIONS)
ANSWER_TOKENS = 32
QUESTIONS_PER_PASSAGE = 2
QUICK_PASSAGES = 20
SCORES = {"exact_match": exact_match, "f1": token_f1}


def measure(loaded: Loaded, root: Path, quick: bool, progress: Progress) -> Iterator[Measurement]:
    """Exact match and F1 of the first questions of each paragraph; the intervals are over paragraphs."""
    paragraphs = list(passages(root, held_out=True))[: QUICK_PASSAGES if quick else None]
    answers = []
    for number, paragraph in enumerate(paragraphs):
        progress(number / len(paragraphs), f"paragraph {number + 1} of {len(paragraphs)}")
        answers.append([answer(loaded, paragraph, question) for question, _ in asked(paragraph)])
    counts = np.array([len(given) for given in answers])
    protocol = {
        "name": "greedy", "answer_tokens": ANSWER_TOKENS, "questions_per_paragraph": QUESTIONS_PER_PASSAGE,
        "interval_over": f"{len(counts)} paragraphs", "contexts_too_long": sum(given.count(None) for given in answers),
    }  # fmt: skip
    for name, score in SCORES.items():
        sums = [
            sum(score(each or "", references) for each, (_, references) in zip(given, asked(paragraph), strict=True))
            for given, paragraph in zip(answers, paragraphs, strict=True)
        ]
        found = statistics.ratio_of_sums(np.array(sums), counts)
        metric, n = f"squad_heldout {name}", int(counts.sum())
        yield Measurement(metric, found.value, "", found.interval, found.stderr, n, protocol)


def asked(paragraph: Passage) -> tuple:
    """The questions of a paragraph that are measured, each with its references."""
    return paragraph.questions[:QUESTIONS_PER_PASSAGE]


def answer(loaded: Loaded, paragraph: Passage, question: str) -> str | None:
    """The model's answer; None where the context is too long, which counts as wrong: to leave it out would flatter."""
    prompt = loaded.tokenizer(question_prompt(paragraph.context, question), verbose=False)["input_ids"]
    if len(prompt) > loaded.description.context - ANSWER_TOKENS:
        return None
    return Generation(loaded.model, loaded.tokenizer, prompt, Sampling(ANSWER_TOKENS, stop=(STOP,))).run().text
