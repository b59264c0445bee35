"""Questions with several answers to choose from, in the layouts of the Hub and of their publishers."""

from typing import Any

from evals.rows.row import Row

ASKED = ("question", "question_stem", "query")
GOLD = ("answerKey", "answer", "gold")
LETTERS = "ABCDEFGHIJ"


def question(row: Row) -> Row:
    """The row with `question`, its `choices`, their `letters` from A on, the `label` (from 0) and the `topic`.

    Read are `question` and `choices` as the Hub has them (ARC, OpenBookQA, CommonsenseQA, MMLU), the publishers' JSON
    lines with both inside `question`, lists of choices with the number of the right one, and tables with a column a
    letter. The label is found by the name that the set gives its choices, which are not always letters.
    """
    asked = _first(row, ASKED)
    listed = row.get("choices")
    if isinstance(asked, dict):
        asked, listed = asked["stem"], asked["choices"]
    names, choices = _choices(listed, row)
    gold = _first(row, GOLD)
    label = gold if isinstance(gold, int) else names.index(gold.strip())
    if not 0 <= label < len(choices):
        raise ValueError(f"no choice {gold!r}")
    topic = str(row.get("subject", "")).replace("_", " ")
    letters = list(LETTERS[: len(choices)])
    return row | {"question": asked, "choices": choices, "letters": letters, "label": label, "topic": topic}


def _first(row: Row, names: tuple[str, ...]) -> Any:
    """The first of these fields that the row has. KeyError if it has none."""
    return row[next((name for name in names if name in row), names[0])]


def _choices(listed: Any, row: Row) -> tuple[list[str], list[str]]:
    """What the set calls its choices, and the choices."""
    if isinstance(listed, dict):
        return list(listed["label"]), list(listed["text"])
    if listed is None:
        names = [letter for letter in LETTERS if letter in row]
        return names, [row[letter] for letter in names]
    if isinstance(listed[0], dict):
        return [choice["label"] for choice in listed], [choice["text"] for choice in listed]
    return list(LETTERS[: len(listed)]), list(listed)
