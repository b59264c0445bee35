"""The forward pass and what goes through it: state, and whether a model can be trusted with them."""
