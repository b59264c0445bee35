"""The last word of a passage, as LAMBADA (Paperno et al. 2016) is cut by lm-evaluation-harness (`lambada_openai`)."""

from models.errors import RequestError


def cut(passage: str) -> tuple[str, str]:
    """What stands before the last space, and the last word with that space. RequestError for a passage of one word."""
    context, space, word = passage.rpartition(" ")
    if not context.strip() or not word:
        raise RequestError(f"The passage {passage!r} has no last word after a space: check the file.")
    return context, space + word
