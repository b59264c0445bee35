"""A text as windows of token ids: which tokens a protocol scores, and the bytes of the text they cover."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from evals.data import Text
from models.errors import RequestError

DEFAULT_LENGTH = 2048  # GPTQ, SparseGPT and AWQ; Wanda uses the model's own context


@dataclass(frozen=True)
class Windows:
    """`ids` [n, L]; `bytes` [n, L-1], the bytes of the text that each scored token adds; `protocol`, JSON types."""

    ids: torch.Tensor
    bytes: np.ndarray
    protocol: dict


def gptq_windows(
    tokenizer: PreTrainedTokenizerBase, text: Text, context: int, length: int | None = None, most: int | None = None
) -> Windows:
    """The windows of the `gptq` protocol: GPTQ, SparseGPT, Wanda and AWQ quote "WikiText2 perplexity" so.

    The text is encoded once with the tokenizer's default special tokens (for Llama one BOS at the start) and cut into
    disjoint windows of L tokens, L = min(context, 2048) unless given; the tail is dropped, no window gets a BOS of its
    own, and the first token of each is context only: L-1 are scored. `most` keeps only the first so many windows.

    A text shorter than L makes one window of its own length, which the protocol then says (`shortened_from`).
    Raises RequestError if `length` does not fit the context or the text has too few tokens to score one.
    """
    wanted = min(context, DEFAULT_LENGTH) if length is None else length
    if not 2 <= wanted <= context:
        raise RequestError(f"A window of {wanted} tokens is not possible: choose 2 to {context}, the model's context.")
    ids, ends = encode_with_ends(tokenizer, text.content)
    if len(ids) < 2:
        raise RequestError(f"The text {text.id} has {len(ids)} tokens: at least two are needed to score one.")
    used = min(wanted, len(ids))
    count = min(len(ids) // used, most or len(ids))
    cut = ids[: count * used].reshape(count, used)
    added = np.diff(ends[: count * used].reshape(count, used), axis=1)
    if not added.any():
        raise RequestError(f"The scored tokens of the text {text.id} cover no byte of it: give a longer one.")
    protocol = {
        "name": "gptq",
        "text": text.id,
        "text_revision": text.revision,
        "text_sha256": text.sha256,
        "length": used,
        "stride": used,
        "windows": count,
        "tokens_scored": count * (used - 1),
        "bos": bool(ids[0] == tokenizer.bos_token_id),
        "tokens_sha256": hashlib.sha256(cut.astype("<i8").tobytes()).hexdigest()[:16],
    }
    if used < wanted:
        protocol["shortened_from"] = wanted
    return Windows(torch.from_numpy(cut), added, protocol)


def encode_with_ends(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[np.ndarray, np.ndarray]:
    """The token ids [T] of a text, special tokens as by default, and where each ends in its UTF-8 bytes [T].

    Ends never fall back: a special token ends where the text before it ended, and where several tokens make up one
    character the first of them takes all its bytes. A tokenizer that knows no offsets has its ends from decoding.
    """
    encoded = tokenizer(text, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    ids = np.asarray(encoded["input_ids"], dtype=np.int64)
    if not tokenizer.is_fast:
        return ids, _ends_by_decoding(tokenizer, ids)
    characters = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    widths = 1 + (characters > 0x7F) + (characters > 0x7FF) + (characters > 0xFFFF)
    byte_at = np.concatenate([[0], np.cumsum(widths)])
    ends = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)[:, 1]
    return ids, np.maximum.accumulate(byte_at[ends]) if len(ids) else ends


def _ends_by_decoding(tokenizer: PreTrainedTokenizerBase, ids: np.ndarray) -> np.ndarray:
    # Two tokens are decoded together and the first one's text taken off, because the space before a word is often
    # dropped at the start of a text.
    def size(piece: np.ndarray) -> int:
        return len(tokenizer.decode(piece, skip_special_tokens=True, clean_up_tokenization_spaces=False).encode())

    added = [size(ids[max(at - 1, 0) : at + 1]) - (size(ids[at - 1 : at]) if at else 0) for at in range(len(ids))]
    return np.maximum.accumulate(np.cumsum(added)) if added else np.zeros(0, dtype=np.int64)
