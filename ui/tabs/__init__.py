"""The tabs and what stands on them."""
