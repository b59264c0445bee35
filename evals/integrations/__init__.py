"""Metrics of Hugging Face evaluate, and ours as its modules."""
