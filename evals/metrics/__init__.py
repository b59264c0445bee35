"""One file a metric of `python -m evals run`: see `evals.registry`."""
