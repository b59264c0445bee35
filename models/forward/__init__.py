"""The forward pass and what goes through it: state, decoding, sampling, and whether a model can be trusted with them."""
