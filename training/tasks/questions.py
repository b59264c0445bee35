"""Question answering: a context with its questions, each followed by an answer found in it (SQuAD)."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from training.formats import STOP, UNANSWERABLE, completion, question_prompt
from training.instructions import Example, passages
from training.sources import Passage
from training.tasks import Keyed, Task


def example(passage: Passage, generator: Random) -> Example:
    """A context with all its questions in random order, each followed by one of its answers.

    Asking several questions of one reading costs a quarter of the tokens; the first stands just as it will be asked.
    A question without an answer is followed by the word that says so.
    """
    pieces: Example = []
    questions = list(passage.questions)
    generator.shuffle(questions)
    for number, (question, answers) in enumerate(questions):
        prompt = question_prompt(passage.context, question)
        if number:
            prompt = prompt[prompt.index(f"{STOP}Question:") + len(STOP) :]
        answer = generator.choice(answers) if answers else UNANSWERABLE
        pieces += [(prompt, False), (completion(answer) + STOP, True)]
    return pieces


def examples(root: Path, generator: Random) -> Iterator[Keyed]:
    """Every training passage of SQuAD 1.1 once."""
    for passage in passages(root):
        yield passage.article, example(passage, generator)


TASK = Task("questions", "questions whose answer stands in the context (SQuAD 1.1)", examples)
