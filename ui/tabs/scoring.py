"""Labels scored by their log-likelihood in a model's own form, as they stand or against a text without content."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import exp
from typing import TYPE_CHECKING

from models.description import context_length
from models.text.prompts import leading_tokens
from ui.forms import Choices, Form

if TYPE_CHECKING:
    from evals.asking.encoding import Pair
    from models import Loaded

NEUTRAL = "..."  # a text without content: what a model says of it, it says of any


@dataclass(frozen=True)
class LabelScores:
    """log p(label | text) by label (nats), and log p(label | text without content), empty unless asked for.

    `dropped` tokens of the text's beginning were left out, since the model reads `context` at most.
    """

    log_likelihoods: dict[str, float]
    neutral: dict[str, float]
    dropped: int
    context: int

    @property
    def probabilities(self) -> dict[str, float]:
        """The labels' probabilities, summing to 1.

        The softmax of their log-likelihoods or, where the neutral ones are known, of the difference: the pointwise
        mutual information of label and text.
        """
        values = {name: sum_ - self.neutral.get(name, 0.0) for name, sum_ in self.log_likelihoods.items()}
        weights = {name: exp(value - max(values.values())) for name, value in values.items()}
        return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def score_labels(loaded: "Loaded", form: Form, text: str, labels: Sequence[str], calibrated: bool) -> LabelScores:
    """The labels' scores for a text; a text that is too long loses its beginning, but nothing of the form before it.

    RequestError for a label that is longer than the context.
    """
    from evals.asking.encoding import fitted
    from evals.asking.likelihood import log_likelihoods

    neutral = _pairs(loaded, form.choices(NEUTRAL, labels))
    asked = form.choices(text, labels)
    pairs = _pairs(loaded, asked)
    head = _shared(pairs[0][0], neutral[0][0]) if asked.is_whole else len(leading_tokens(loaded.tokenizer))
    context = context_length(loaded.model.config.get_text_config())
    cut, dropped = fitted(pairs, context, head)
    found = log_likelihoods(loaded.model, [*cut, *(neutral if calibrated else [])])
    given, without = found[: len(labels)], found[len(labels) :]
    return LabelScores(
        dict(zip(labels, given, strict=False)), dict(zip(labels, without, strict=False)), dropped, context
    )


def _pairs(loaded: "Loaded", asked: Choices) -> "list[Pair]":
    from evals.asking.encoding import encode_choices

    return encode_choices(loaded.tokenizer, asked.prompt, asked.labels, asked.is_whole)


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two begin with alike: in a form, what stands before the text."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
