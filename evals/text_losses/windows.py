"""A text as windows of token ids: what a protocol reads and scores, and the bytes and words that this covers."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from evals.text_losses.data import Text
from models.errors import RequestError
from models.text.text_stream import TextStream


class Span(NamedTuple):
    """A window in a sequence of tokens: those from `start` to before `end` are read, those from `first` on scored."""

    start: int
    first: int
    end: int


class Passage(NamedTuple):
    """Tokens in a row: `ids` [T], and for each unit that figures are taken over what every token adds to it [T]."""

    ids: np.ndarray
    added: dict[str, np.ndarray]


@dataclass(frozen=True)
class Windows:
    """Windows in the order of the text, not all of one length.

    `ids` has n arrays [L_i], of which the tokens from `first` [n] on are scored. `weights` has for each of `tokens`,
    `bytes` (and `words`) n arrays [L_i - first_i] of what every scored token adds to the text. `documents` [n] numbers
    the document of each window, and `protocol` (JSON types) tells another person how to cut the same windows.
    """

    ids: list[np.ndarray]
    first: np.ndarray
    weights: dict[str, list[np.ndarray]]
    documents: np.ndarray
    protocol: dict


def windows_of(text: Text, cut: Iterable[tuple[Passage, Sequence[Span]]], facts: dict) -> Windows:
    """The windows of passages, one a document, each with its spans; `facts` are the protocol's own entries.

    Raises RequestError if no token is scored, or if all that are add no byte to the text.
    """
    ids: list[np.ndarray] = []
    first: list[int] = []
    documents: list[int] = []
    weights: dict[str, list[np.ndarray]] = {}
    for number, (passage, spans) in enumerate(cut):
        for span in spans:
            ids.append(passage.ids[span.start : span.end])
            first.append(span.first - span.start)
            documents.append(number)
            for unit, added in passage.added.items():
                weights.setdefault(unit, []).append(added[span.first : span.end])
    if not ids:
        raise RequestError(f"The text {text.id} has too few tokens to score one: give a longer one.")
    if not any(added.any() for added in weights["bytes"]):
        raise RequestError(f"The scored tokens of the text {text.id} cover no byte of it: give a longer one.")
    protocol = facts | {
        "text": text.id,
        "text_revision": text.revision,
        "text_sha256": text.sha256,
        "windows": len(ids),
        "tokens_scored": sum(len(added) for added in weights["bytes"]),
        "tokens_sha256": hashlib.sha256(np.concatenate(ids).astype("<i8").tobytes()).hexdigest()[:16],
    }
    return Windows(ids, np.array(first), weights, np.array(documents), protocol)


def passage_of(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = True) -> Passage:
    """A text as a passage, encoded with the tokenizer's own special tokens or without."""
    ids, ends = encode_with_ends(tokenizer, text, special)
    return Passage(ids, {"tokens": np.ones(len(ids)), "bytes": np.diff(ends, prepend=0).astype(np.float64)})


def after(token: int, passage: Passage) -> Passage:
    """The passage with a token before it that adds nothing to the text."""
    added = {unit: np.concatenate([[0.0], values]) for unit, values in passage.added.items()}
    return Passage(np.concatenate([[token], passage.ids]), added)


def text_passage(tokenizer: PreTrainedTokenizerBase, text: str, bos: str) -> Passage:
    """A joined text as a passage: with the tokenizer's own special tokens, or none where every window gets its BOS."""
    return passage_of(tokenizer, text, special=bos == "text")


def bos_facts(tokenizer: PreTrainedTokenizerBase, passage: Passage, bos: str) -> dict:
    """What a protocol tells of BOS: whether there is one, and where, if that is not once before the text."""
    if bos == "window":
        return {"bos": True, "bos_policy": bos}
    return {"bos": bool(len(passage.ids) and passage.ids[0] == tokenizer.bos_token_id)}


def each_after(token: int, passage: Passage, spans: Sequence[Span]) -> tuple[Passage, list[Span]]:
    """The windows `spans` of a passage, each behind the token, and the passage that holds them one after the other."""
    pieces = [after(token, _piece(passage, span)) for span in spans]
    starts = np.cumsum([0, *(len(piece.ids) for piece in pieces)])
    whole = Passage(
        np.concatenate([piece.ids for piece in pieces]),
        {unit: np.concatenate([piece.added[unit] for piece in pieces]) for unit in passage.added},
    )
    return whole, [
        Span(int(start), int(start) + 1 + span.first - span.start, int(end))
        for span, start, end in zip(spans, starts, starts[1:], strict=False)
    ]


def _piece(passage: Passage, span: Span) -> Passage:
    return Passage(
        passage.ids[span.start : span.end],
        {unit: added[span.start : span.end] for unit, added in passage.added.items()},
    )


def sharing(passage: Passage, **totals: float) -> Passage:
    """The passage with totals of units (`words=12`) shared out among its tokens by the bytes that each adds."""
    shares = passage.added["bytes"] if passage.added["bytes"].any() else passage.added["tokens"]
    shared = {unit: shares * (total / shares.sum()) for unit, total in totals.items()}
    return passage._replace(added=passage.added | shared)


def encode_with_ends(
    tokenizer: PreTrainedTokenizerBase, text: str, special: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The token ids [T] of a text, special tokens as by default or none, and where each ends in its UTF-8 bytes [T].

    Ends never fall back: a special token ends where the text before it ended, and where several tokens make up one
    character the first of them takes all its bytes. A tokenizer that knows no offsets has its ends from decoding.
    """
    options = {} if special else {"add_special_tokens": False}
    encoded = tokenizer(text, return_offsets_mapping=tokenizer.is_fast, verbose=False, **options)
    ids = np.asarray(encoded["input_ids"], dtype=np.int64)
    if not tokenizer.is_fast:
        return ids, _ends_by_decoding(tokenizer, ids)
    characters = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    widths = 1 + (characters > 0x7F) + (characters > 0x7FF) + (characters > 0xFFFF)
    byte_at = np.concatenate([[0], np.cumsum(widths)])
    ends = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)[:, 1]
    return ids, np.maximum.accumulate(byte_at[ends]) if len(ids) else ends


def _ends_by_decoding(tokenizer: PreTrainedTokenizerBase, ids: np.ndarray) -> np.ndarray:
    stream, added = TextStream(tokenizer), np.zeros(len(ids), dtype=np.int64)
    held = 0  # the first token whose text is not certain
    for at, token in enumerate(ids.tolist()):
        if piece := stream.push(token):
            added[held] += len(piece.encode())
        if stream.is_certain:
            held = at + 1
    if held < len(ids):
        added[held] += len(stream.finish().encode())
    return np.cumsum(added)
