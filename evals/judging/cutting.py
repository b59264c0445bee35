"""What was cut off the prompts of a task because a model's context is too short for them."""

from collections.abc import Sequence

from evals.task import Task
from evals.trial import Trial


def tell_cuts(trial: Trial, model: str, task: Task, dropped: Sequence[int]) -> None:
    """Records how many rows lost how many tokens, for the protocol of the figures; a note says so where any did.

    `dropped` is how many tokens each row's prompt lost.
    """
    rows, tokens = sum(count > 0 for count in dropped), sum(dropped)
    trial.contexts_cut[model, task.name] = {"rows": rows, "tokens": tokens}
    if rows:
        trial.notes.append(
            f"{model}, {task.name}: {rows} of {len(dropped)} prompts are longer than the model's context leaves room "
            f"for; their beginnings were cut off, {tokens:,} tokens in all."
        )
