"""A shuffled order of 0..n-1 that is computed a place at a time, without a list of n numbers."""

import numpy as np

ROUNDS = 4
_MASK = (1 << 64) - 1


class Permutation:
    """The numbers 0..count-1 in an order given by the seed; `permutation[i]` takes constant time and memory.

    A Feistel network over the next even number of bits is a bijection whatever its round function (Luby and Rackoff,
    1988, who show four rounds to be enough); numbers outside the range are sent through again until one falls inside,
    which takes fewer than four passes on average (cycle walking: Black and Rogaway, 2002).
    """

    def __init__(self, count: int, seed: int | tuple[int, ...]):
        self.count = count
        self.half = max((count - 1).bit_length() + 1, 2) // 2  # bits
        keys = np.random.default_rng(seed).integers(0, 1 << 63, ROUNDS)
        self.keys = [int(key) for key in keys]

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < self.count:
            raise IndexError(f"{place} is not a place of {self.count}.")
        value = self._network(place)
        while value >= self.count:
            value = self._network(value)
        return value

    def _network(self, value: int) -> int:
        mask = (1 << self.half) - 1
        left, right = value >> self.half, value & mask
        for key in self.keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        return left << self.half | right


def _mixed(value: int) -> int:
    """SplitMix64's finalizer (Steele, Lea and Flood, 2014)."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)
