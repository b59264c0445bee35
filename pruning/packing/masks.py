"""Masks as words of 64 bits: bit b of word w of a row stands for column 64 w + b. The unused last bits are zero."""

import numpy as np
import torch

WORD = 64
_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


def words_of(columns: int) -> int:
    """How many words a row of `columns` takes."""
    return -(-columns // WORD)


def pack(mask: torch.Tensor) -> torch.Tensor:
    """Words [R, ceil(C / 64)] (int64) of a mask [R, C] (bool)."""
    rows, columns = mask.shape
    padded = np.zeros((rows, 8 * words_of(columns)), dtype=np.uint8)
    padded[:, : -(-columns // 8)] = np.packbits(mask.cpu().numpy(), axis=1, bitorder="little")
    return torch.from_numpy(padded.view("<i8"))


def unpack(words: torch.Tensor, columns: int) -> torch.Tensor:
    """The mask [R, C] (bool) of words [R, ceil(C / 64)]."""
    bits = np.unpackbits(_bytes(words), axis=1, bitorder="little", count=columns)
    return torch.from_numpy(bits.view(bool))


def counts(words: torch.Tensor) -> torch.Tensor:
    """How many bits are set in each row: [R], int64."""
    return torch.from_numpy(_ONES[_bytes(words)].sum(axis=1, dtype=np.int64))


def nonzero(weight: torch.Tensor) -> torch.Tensor:
    """Where a weight has any bit set: -0.0 counts, since a packed weight must come back bit for bit."""
    if weight.is_floating_point():
        weight = weight.view({1: torch.int8, 2: torch.int16, 4: torch.int32}[weight.element_size()])
    return weight != 0


def signed_zeros(weight: torch.Tensor) -> int:
    """How many weights are -0.0: what multiplying a negative weight by a mask leaves."""
    return int(torch.count_nonzero((weight == 0) & weight.signbit()))


def fill_groups(mask: torch.Tensor, keep: int, of: int) -> torch.Tensor:
    """The mask [R, C] with exactly `keep` set in every `of` columns: where fewer are, the first zeros are set too.

    Raises ValueError where more are, or where C is not a multiple of `of`.
    """
    rows, columns = mask.shape
    if columns % of:
        raise ValueError(f"{columns} inputs are not a multiple of {of}")
    groups = mask.reshape(rows, columns // of, of)
    if rows and columns and int(groups.sum(-1).max()) > keep:
        raise ValueError(f"more than {keep} of {of} consecutive inputs are not zero")
    first = torch.argsort(groups.to(torch.int8), dim=-1, descending=True, stable=True)[..., :keep]
    return torch.zeros_like(groups).scatter_(-1, first, True).reshape(rows, columns)


def _bytes(words: torch.Tensor) -> np.ndarray:
    return words.cpu().contiguous().numpy().view(np.uint8).reshape(words.shape[0], -1)
