"""The small texts that ship with the project, written for measuring and used for nothing else.

Nothing is trained or calibrated on them, so that a number taken on them is not flattered.
"""

from functools import cache
from pathlib import Path


@cache
def prose() -> str:
    """About four thousand words of English in many registers: reference, story, dialogue, instructions, reviews."""
    return (Path(__file__).parent / "prose.txt").read_text(encoding="utf-8")
