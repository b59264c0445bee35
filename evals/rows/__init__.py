"""Rows of labelled data."""
