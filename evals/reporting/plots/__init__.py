"""One file a plot of `python -m evals report`: see `evals.reporting.plotting`."""
