"""Measures models: perplexity, speed and memory, each number with its spread and its protocol.

from evals import evaluate_models
results = evaluate_models(["embedded", "pruned/"], out="report/")
"""

from evals.measurement import Measurement

__all__ = ["Measurement", "evaluate_models"]


def __getattr__(name: str):
    # Lazily, so that `python -m evals --help` does not wait for torch and transformers.
    if name == "evaluate_models":
        from evals.runs.run import evaluate_models

        return evaluate_models
    raise AttributeError(f"module 'evals' has no attribute {name!r}")
