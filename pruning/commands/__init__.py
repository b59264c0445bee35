"""The command line of pruning."""
