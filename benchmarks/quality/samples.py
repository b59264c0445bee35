"""Texts that a person can judge: what the model writes, greedily and drawn, and how it answers held-out questions."""

from pathlib import Path

from benchmarks.quality.questions import answer
from models import Loaded
from models.decoding import Generation
from models.sampling import Sampling
from training.instructions import passages

PROMPTS = (
    "The city lies on the river",
    "In the nineteenth century, the railway",
    "She opened the door and",
    "The species is found in",
)
WAYS = {"greedy": Sampling(60), "drawn": Sampling(60, temperature=0.8, top_p=0.95, seed=0)}


def samples(loaded: Loaded, root: Path) -> dict:
    """`greedy` and `drawn` {prompt: text}; `questions`: the first question of each article kept back."""
    written = {
        way: {prompt: Generation(loaded.model, loaded.tokenizer, prompt, sampling).run().text for prompt in PROMPTS}
        for way, sampling in WAYS.items()
    }
    firsts = {}
    for paragraph in passages(root, held_out=True):
        firsts.setdefault(paragraph.article, paragraph)
    questions = []
    for paragraph in firsts.values():
        question, references = paragraph.questions[0]
        given = answer(loaded, paragraph, question)
        questions.append({"question": question, "answer": given, "references": list(references)})
    return written | {"questions": questions}
