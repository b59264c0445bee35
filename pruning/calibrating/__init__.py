"""From calibration text to windows of tokens, and what is remembered of them. The texts are in `pruning.calibration`."""
