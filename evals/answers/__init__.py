"""How well a short answer found in a context matches the references: SQuAD 1.1 and 2.0, and CMRC 2018 for Chinese."""

from evals.answers.squad import exact_match, normalise, token_f1

__all__ = ["exact_match", "normalise", "token_f1"]
