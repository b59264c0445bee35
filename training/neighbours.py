"""Words that stand in the same places: other words for a word, learnt from the texts themselves."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

MOST_FREQUENT = 30  # words without neighbours: function words, for the most part
# Put elsewhere or left out, these turn what a text says round.
FIXED = frozenset(
    "no not never nor none nobody nothing neither without hardly barely but too cannot can't don't doesn't didn't "
    "isn't wasn't won't wouldn't couldn't shouldn't aren't weren't hasn't haven't".split()
)


def bare(part: str) -> str:
    """A word without the punctuation around it."""
    return part.strip("\"'()[].,;:!?")


def near_neighbours(
    texts: Iterable[str], most_words: int = 4000, neighbours: int = 8, least: int = 5
) -> dict[str, tuple[str, ...]]:
    """For words seen at least `least` times, the up to `neighbours` nearest of the `most_words` most frequent ones.

    Two words are near if the words right before and right after them agree: the cosine of their vectors of positive
    pointwise mutual information (Levy, Goldberg and Dagan 2015, section 2). Opposites stand in the same places too: for
    texts with labels, give the texts of one label at a time. Negations, and the MOST_FREQUENT words, have none.
    """
    from sklearn.preprocessing import normalize

    sentences = [[bare(part).lower() for part in text.split()] for text in texts]
    counts = Counter(word for sentence in sentences for word in sentence if word)
    ordered = sorted((word for word in counts if counts[word] >= least), key=lambda word: (-counts[word], word))
    vocabulary = ordered[:most_words]
    if len(vocabulary) <= MOST_FREQUENT:
        return {}
    vectors = normalize(_information(sentences, vocabulary))
    cosines_of = vectors @ vectors.T
    found = {}
    for index, word in enumerate(vocabulary):
        if not _replaceable(index, word):
            continue
        row = cosines_of[[index]].tocoo()
        near = sorted(zip(-row.data, row.coords[1], strict=True))
        words = [vocabulary[i] for cosine, i in near if cosine < 0 and i != index and _replaceable(i, vocabulary[i])]
        if words:
            found[word] = tuple(words[:neighbours])
    return found


def _replaceable(index: int, word: str) -> bool:
    return index >= MOST_FREQUENT and word not in FIXED


def _information(sentences: list[list[str]], vocabulary: list[str]):
    """Positive pointwise mutual information of each word with those before and after it: sparse [words, 2 x words]."""
    from scipy.sparse import csr_array

    number = {word: index for index, word in enumerate(vocabulary)}
    pairs: Counter = Counter()
    for sentence in sentences:
        places = [number.get(word) for word in sentence]
        for left, right in zip(places, places[1:], strict=False):
            if left is not None and right is not None:
                pairs[left, right + len(vocabulary)] += 1
                pairs[right, left] += 1
    keys = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    shape = (len(vocabulary), 2 * len(vocabulary))
    counts = csr_array((list(pairs.values()), keys.T), shape=shape, dtype=float).tocoo()
    rows, columns = counts.sum(axis=1)[counts.coords[0]], counts.sum(axis=0)[counts.coords[1]]
    counts.data = np.maximum(np.log(counts.data * counts.data.sum() / (rows * columns)), 0)
    return counts.tocsr()
