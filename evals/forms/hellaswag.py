"""HellaSwag (Zellers et al. 2019): what happens next, after a text without the marks of wikiHow."""

import re

from evals.rows.row import Row

MARK = re.compile(r"\[.*?\]")


def hellaswag(row: Row) -> Row:
    """The row with its `query`, its cleaned `endings` and the `label` (from 0).

    The query is the activity, a colon and the context, whose second part begins with a capital, as
    lm-evaluation-harness makes it. A row that was made of the original already, with the whole in `ctx`, is taken
    where that part begins in lower case after the last full stop.
    """
    if "ctx_a" in row:
        query = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    else:
        query = begun(row["ctx"])
    endings = [cleaned(ending) for ending in row["endings"]]
    return row | {"query": cleaned(query), "endings": endings, "label": int(row["label"])}


def begun(context: str) -> str:
    """A context whose last sentence, if it begins in lower case and has no end, begins with a capital."""
    before, stop, last = context.rpartition(". ")
    if stop and last[:1].islower() and not last.rstrip().endswith((".", "!", "?")):
        return f"{before}{stop}{last.capitalize()}"
    return context


def cleaned(text: str) -> str:
    """A text without marks in brackets: a title ends the sentence before it, other marks go with one space."""
    text = text.strip().replace(" [title]", ". ")
    return MARK.sub("", text).replace("  ", " ")
