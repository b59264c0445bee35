"""Rows of the standard sets in the layout of the Hub's data sets, which lm-evaluation-harness's own tasks read."""

from evals.rows.row import Row

LETTERS = "ABCDEFGHIJ"


def piqa(row: Row) -> dict:
    """Goal, two solutions, and the number of the right one."""
    return {name: row[name] for name in ("goal", "sol1", "sol2")} | {"label": int(row["label"])}


def hellaswag(row: Row) -> dict:
    """The context in its two parts: the second begins in lower case after the last full stop."""
    activity, _, context = row["ctx"].partition(": ")
    first, stop, second = context.rpartition(". ")
    if not stop or not second[:1].islower() or second.rstrip().endswith((".", "!", "?")):
        first, stop, second = context, "", ""
    parts = {"activity_label": activity, "ctx_a": f"{first}{stop.rstrip()}", "ctx_b": second}
    return parts | {"endings": row["endings"], "label": str(row["label"])}


def question(row: Row) -> dict:
    """A question, its choices with their letters, and the letter of the right one."""
    choices = {"text": row["choices"], "label": list(LETTERS[: len(row["choices"])])}
    stem = {"question": row["question"], "question_stem": row["question"]}
    return stem | {"choices": choices, "answerKey": LETTERS[row["label"]]}


def mmlu(row: Row) -> dict:
    """A question, its choices, the number of the right one, and the subject."""
    named = {"question": row["question"], "subject": row["subject"]}
    return named | {"choices": row["choices"], "answer": row["label"]}


def winogrande(row: Row) -> dict:
    """The sentence, its two words, and which is right."""
    return {name: str(row[name]) for name in ("sentence", "option1", "option2", "answer")}


def lambada(row: Row) -> dict:
    """The passage."""
    return {"text": row["text"]}
