"""Easy data augmentation: a labelled text with a few words replaced, inserted, swapped or deleted, its label unchanged.

Wei and Zou 2019, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks",
section 2, without WordNet: other words for a word are those that stand in the same places in the training texts (see
`training.neighbours`). Pure functions: what they choose is decided by the generator alone.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from training.neighbours import FIXED, bare

Neighbours = Mapping[str, Sequence[str]]


def augment(text: str, generator: random.Random, neighbours: Neighbours, rate: float = 0.1) -> str:
    """One of the four changes, chosen at random, made to `rate` of the words (at least one).

    White space becomes single spaces; a text of a single word comes back as it is.
    """
    parts = text.split()
    if len(parts) < 2:
        return text
    times = max(1, round(rate * len(parts)))
    change = generator.choice(CHANGES)
    return " ".join(change(parts, times, generator, neighbours))


def replace(parts: Sequence[str], times: int, generator: random.Random, neighbours: Neighbours) -> list[str]:
    """Up to `times` words replaced by one of their neighbours."""
    changed = list(parts)
    places = _changeable(changed, neighbours)
    for place in generator.sample(places, min(times, len(places))):
        changed[place] = _other(changed[place], generator, neighbours)
    return changed


def insert(parts: Sequence[str], times: int, generator: random.Random, neighbours: Neighbours) -> list[str]:
    """`times` neighbours of words of the text put in at random places."""
    changed = list(parts)
    places = _changeable(parts, neighbours)
    for _ in range(times if places else 0):
        word = generator.choice(neighbours[bare(parts[generator.choice(places)]).lower()])
        changed.insert(generator.randrange(len(changed) + 1), word)
    return changed


def swap(parts: Sequence[str], times: int, generator: random.Random, neighbours: Neighbours) -> list[str]:
    """Two words exchanged, `times` times."""
    changed = list(parts)
    for _ in range(times if len(parts) > 1 else 0):
        one, other = generator.sample(range(len(changed)), 2)
        changed[one], changed[other] = changed[other], changed[one]
    return changed


def delete(parts: Sequence[str], times: int, generator: random.Random, neighbours: Neighbours) -> list[str]:
    """Up to `times` words left out, never the last one that is left."""
    places = [place for place, part in enumerate(parts) if bare(part).lower() not in FIXED]
    gone = set(generator.sample(places, min(times, len(places), len(parts) - 1)))
    return [part for place, part in enumerate(parts) if place not in gone]


CHANGES: tuple[Callable[..., list[str]], ...] = (replace, insert, swap, delete)


def _changeable(parts: Sequence[str], neighbours: Neighbours) -> list[int]:
    return [place for place, part in enumerate(parts) if bare(part).lower() in neighbours]


def _other(part: str, generator: random.Random, neighbours: Neighbours) -> str:
    """A neighbour of a word, with its capital letter and punctuation."""
    word = bare(part)
    other = generator.choice(neighbours[word.lower()])
    return part.replace(word, other.capitalize() if word[0].isupper() else other, 1)
