"""The perplexities of lm-evaluation-harness on its task `wikitext`."""

import re

from transformers import PreTrainedTokenizerBase

from evals.protocols import Request, protocol
from evals.protocols.lm_eval import COMPARISONS, FIGURES, rolling
from evals.text_losses.data import Text
from evals.text_losses.windows import Windows

# What the task (version 2) makes of WikiText's spaced-out writing, in its order: (pattern, replacement).
RULES = [
    ("s '", "s'"), ("/' [0-9]/", "/'[0-9]/"),
    (" @-@ ", "-"), (" @,@ ", ","), (r" @\.@ ", "."),
    *((rf" {re.escape(mark)} ", f"{mark} ") for mark in ":;.!?,"),
    (r"\(\s*([^)]*?)\s*\)", r"(\1)"), (r"\[\s*([^]]*?)\s*\]", r"[\1]"), (r"\{\s*([^}]*?)\s*\}", r"{\1}"),
    (r'"\s*([^"]*?)\s*"', r'"\1"'), (r"'\s*([^']*?)\s*'", r"'\1'"),
    ("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" \u00b0 ", "\u00b0"),
    (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s"),
]  # fmt: skip


@protocol(figures=FIGURES, comparisons=COMPARISONS)
def lm_eval_wikitext(tokenizer: PreTrainedTokenizerBase, text: Text, request: Request) -> Windows:
    """`lm-eval` with WikiText's pages scored in plain writing (`@-@` as a hyphen, no space before a comma).

    Words and bytes are those of the pages as they were, which is how the harness counts them.
    """
    return rolling("lm-eval-wikitext", tokenizer, text, request, detokenised)


def detokenised(page: str) -> str:
    """A page of WikiText in plain writing."""
    for pattern, replacement in RULES:
        page = re.sub(pattern, replacement, page)
    return page
