"""One run: what is measured, and what it found."""
