"""The command line of evals."""
