"""A text scored by one model, and its losses as samples whose spread can be told."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

FEWEST_SAMPLES = 10


@dataclass(frozen=True)
class Scored:
    """The losses of the scored tokens of n windows, in the order of the text, in nats.

    `losses` is [n, k], or n arrays [k_i] where windows differ in length; so is each unit of `weights`: what a token
    adds to the `tokens`, `bytes` or `words` of the text. `documents` [n] numbers the document of each window.
    """

    losses: Sequence[np.ndarray]
    weights: dict[str, Sequence[np.ndarray]]
    documents: np.ndarray
    protocol: dict


class Samples(NamedTuple):
    """Sums over parts of a text, in its order: `nats` [n] of losses, `size` [n] in the unit asked for, by part."""

    nats: np.ndarray
    size: np.ndarray
    parts: str


def samples(scored: Scored, unit: str) -> Samples:
    """The losses by document; where those are fewer than ten by window; and where these are, by pieces of them.

    The pieces of a window have equally many tokens, as far as it has enough of them.
    """
    losses, weights = scored.losses, scored.weights[unit]
    documents = len(np.unique(scored.documents))
    if documents >= FEWEST_SAMPLES:
        return Samples(_by_document(scored, losses), _by_document(scored, weights), "documents")
    pieces = ceil(FEWEST_SAMPLES / len(losses))
    cut = [_pieces(losses, pieces), _pieces(weights, pieces)]
    return Samples(*cut, "windows" if pieces == 1 else "pieces of windows")


def texts(scored: Scored) -> np.ndarray:
    """The mean loss of each document [d], in nats a token."""
    return _by_document(scored, scored.losses) / _by_document(scored, scored.weights["tokens"])


def _by_document(scored: Scored, rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.bincount(scored.documents, [row.sum(dtype=np.float64) for row in rows])


def _pieces(rows: Sequence[np.ndarray], pieces: int) -> np.ndarray:
    cut = (np.array_split(row, min(pieces, len(row))) for row in rows)
    return np.array([piece.sum(dtype=np.float64) for some in cut for piece in some])
