"""Kinds of model files: checked, fetched, converted or refused."""
