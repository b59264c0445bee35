"""Which articles and sentences of a set without a test split are kept back for measuring."""

import zlib

HELD_OUT_ARTICLES = 6  # one article in so many is never trained on
HELD_OUT_SENTENCES = 10


def is_held_out(key: str, one_in: int) -> bool:
    """Whether the article or sentence `key` is kept back for measuring: one in `one_in`, by its CRC-32."""
    return zlib.crc32(key.encode()) % one_in == 0
