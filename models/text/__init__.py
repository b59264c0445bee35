"""Texts, documents and conversations: from what a person gives to token ids, and back."""
