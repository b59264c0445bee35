"""Texts that a person can judge: what the model writes, greedily and drawn, and how it answers questions kept back."""

from pathlib import Path

from evals.asking.writing import write
from evals.judging.answering import stops
from evals.task import find
from models import Loaded
from models.decoding import Generation
from models.sampling import Sampling

PROMPTS = (
    "The city lies on the river",
    "In the nineteenth century, the railway",
    "She opened the door and",
    "The species is found in",
)
WAYS = {"greedy": Sampling(60), "drawn": Sampling(60, temperature=0.8, top_p=0.95, seed=0)}
QUESTIONS = "squad_kept_back"


def samples(loaded: Loaded, source: Path) -> dict:
    """`greedy` and `drawn` {prompt: text}; `questions`: the first of each article kept back, with the answer."""
    texts = {
        way: {prompt: Generation(loaded.model, loaded.tokenizer, prompt, sampling).run().text for prompt in PROMPTS}
        for way, sampling in WAYS.items()
    }
    return texts | {"questions": questions(loaded, source)}


def questions(loaded: Loaded, source: Path) -> list[dict]:
    """The `question`, the model's `answer` and the `references` of the first question of each article kept back."""
    task = find(QUESTIONS)
    firsts: dict[str, dict] = {}
    for row in task.rows(source):
        firsts.setdefault(row["title"], row)
    prompts = [task.prompt_of(row) for row in firsts.values()]
    written = dict(write(loaded.model, loaded.tokenizer, prompts, task.option("max_new_tokens"), stops(task)))
    return [
        {"question": row["question"], "answer": written[at].text.strip(), "references": row["answers"]}
        for at, row in enumerate(firsts.values())
    ]
