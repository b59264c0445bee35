"""Named entities: those that a model lists, against those that the tags of a sentence mark.

A model answers with one line, ` Persons: A; B | Organizations: none | Locations: C`, the names of the types being the
task's. An entity is right if its type and its words are, but for spaces and marks around it; each counts as often as
the sentence has it. Precision, recall and F1 are those of the sums over all sentences (micro), as
CoNLL 2003's script and seqeval take them; these also ask for the place in the sentence, which a list does not tell.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

Entity = tuple[str, str]  # type, words
NONE = "none"
SEPARATORS = re.compile(r"[;|\n]")
MARKS = " \t\"'“”‘’`.,"  # around an entity they are the sentence's or the list's


def tagged(words: Sequence[str], tags: Sequence[str]) -> Iterator[Entity]:
    """Type and words of every entity of a sentence in BIO tags.

    An `I-` that does not go on with an entity of its own type begins one, as conlleval reads it.
    """
    kind, run = "", []
    for word, tag in [*zip(words, tags, strict=True), ("", "O")]:
        prefix, _, this = tag.partition("-")
        if run and (prefix != "I" or this != kind):
            yield kind, " ".join(run)
            run = []
        if prefix != "O":
            kind = this
            run.append(word)


def listed(answer: str, types: Mapping[str, str]) -> Iterator[Entity]:
    """Type and words of every entity that an answer lists; `types` names each type as the prompt does.

    A type may also be called by its tag, in any case, and come twice or not at all. What stands before the first one
    says nothing.
    """
    kinds = {name.casefold(): tag for tag, name in types.items()} | {tag.casefold(): tag for tag in types}
    names = "|".join(re.escape(name) for name in sorted(kinds, key=len, reverse=True))
    # re.ASCII: beyond it two letters may match that casefold() keeps apart.
    pieces = re.split(rf"(?<!\w)({names})\s*[:：]", answer, flags=re.IGNORECASE | re.ASCII)
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        for item in SEPARATORS.split(text):
            surface = " ".join(item.strip(MARKS).split())
            if surface and surface.casefold() != NONE:
                yield kinds[name.casefold()], surface


def as_listed(entities: Sequence[Entity], types: Mapping[str, str]) -> str:
    """The answer, without its first space, that lists these entities: what a prompt shows by example."""
    of_kind = {tag: [surface for kind, surface in entities if kind == tag] for tag in types}
    return " | ".join(f"{name}: {'; '.join(of_kind[tag]) or NONE}" for tag, name in types.items())


def counts(found: Iterable[Entity], wanted: Iterable[Entity]) -> list[float]:
    """One sentence's `[right, wrong, missed]` entities."""
    given, marked = (Counter((kind, _bare(text)) for kind, text in entities) for entities in (found, wanted))
    right = (given & marked).total()
    return [float(right), float(given.total() - right), float(marked.total() - right)]


def precision(sums: np.ndarray) -> np.ndarray:
    """right / (right + wrong) [...] of sums [..., 3]; 0 where nothing was listed."""
    return _share(sums[..., 0], sums[..., 0] + sums[..., 1])


def recall(sums: np.ndarray) -> np.ndarray:
    """right / (right + missed) [...] of sums [..., 3]; 0 where there is nothing to list."""
    return _share(sums[..., 0], sums[..., 0] + sums[..., 2])


def f1(sums: np.ndarray) -> np.ndarray:
    """The harmonic mean of precision and recall [...] of sums [..., 3], 2 right / (2 right + wrong + missed)."""
    return _share(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def _bare(text: str) -> str:
    return "".join((text.strip(MARKS) or text).split())


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0)
