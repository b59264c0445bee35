"""Token ids turned into text as they come: the pieces, put together, are what the tokenizer makes of all ids at once.

Decoding a window of the last ids is cheap, but what an id adds depends on its neighbours, and only in these ways:

* A byte-level vocabulary splits a character among ids: until it is whole, the text ends with U+FFFD.
* A vocabulary with byte fallback (`<0xE5>`) decodes a row of byte ids as one: if one of them is out of place, each byte
  becomes a U+FFFD, those of whole characters too. So the row is certain only when it is over, and no window may begin
  inside one.
* Some decoders drop the space at the start or the end of a text: a window begins with something visible.
* Special tokens are left out before anything is joined: bytes on both sides of one are neighbours.
"""

import codecs
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN = "\ufffd"
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SILENT, TEXT = -1, -2  # kinds of ids beside bytes, which are their value
LONGEST = 16  # ids of a window that is neither settled nor a row of bytes; a character has at most four


class TextStream:
    """Takes ids one by one. `text` is what is certain of them: it only grows, until `finish`.

    `is_certain` tells whether that is all that the ids so far can be.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self._tokenizer = tokenizer
        self._kinds: dict[int, int] = {}
        self._ids: list[int] = []
        self._window: list[int] = []  # the last ids that are text, begun at a place where decoding may begin
        self._told = 0  # characters of the decoded window that are in `text`
        self._row = _ByteRow()
        self.text = ""
        self.is_certain = True

    @property
    def seen(self) -> str:
        """The text with what an unfinished row of bytes spells so far: to look at, it may yet turn out otherwise."""
        return self.text + self._row.text

    def push(self, token: int) -> str:
        """Takes one more id; returns the text that became certain, often one token's, sometimes none."""
        self._ids.append(token)
        kind = self._kind(token)
        if kind == SILENT:
            return ""
        self._window.append(token)
        if kind != TEXT:
            self._row.take(kind)
            self.is_certain = False
            return ""
        self._row = _ByteRow()
        whole = self._decode(self._window)
        is_open = whole.endswith(UNKNOWN)
        self.is_certain = not is_open
        certain = whole[:-1] if is_open else whole
        new = certain[self._told :]
        self.text += new
        self._told = max(self._told, len(certain))
        if not is_open or len(self._window) > LONGEST:
            self._shorten(is_open)
        return new

    def finish(self) -> str:
        """Returns what was held back, whole or not. From then on `text` is exactly what all ids decode to."""
        whole = self._decode(self._ids)
        new = whole[len(self.text) :] if whole.startswith(self.text) else ""
        self.text = whole
        self._row = _ByteRow()
        self._told = len(self._decode(self._window))
        return new

    def _shorten(self, is_open: bool) -> None:
        """Keeps of the window what the next ids need beside them."""
        for length in (1, 2, 4, LONGEST // 2):
            window = self._ending(length)
            decoded = self._decode(window)
            if decoded.strip() and not (is_open and length < 4):
                break
        self._window = window
        self._told = len(decoded) - is_open

    def _ending(self, length: int) -> list[int]:
        """At least so many of the window's last ids, not begun inside a row of bytes."""
        start = max(0, len(self._window) - length)
        while start and self._kind(self._window[start]) >= 0:
            start -= 1
        return self._window[start:]

    def _kind(self, token: int) -> int:
        if (known := self._kinds.get(token)) is None:
            known = self._kinds[token] = self._find_kind(token)
        return known

    def _find_kind(self, token: int) -> int:
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # a row of the embeddings that the vocabulary does not name
            return SILENT
        if found := BYTE.fullmatch(piece):
            return int(found[1], 16)
        is_special = not self._decode([token]) and bool(self._tokenizer.decode([token], skip_special_tokens=False))
        return SILENT if is_special else TEXT

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) if ids else ""


class _ByteRow:
    """The characters that a row of bytes spells, up to the first byte that is out of place."""

    def __init__(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._broken = False
        self.text = ""

    def take(self, byte: int) -> None:
        """Takes the next byte."""
        if self._broken:
            return
        try:
            self.text += self._decoder.decode(bytes([byte]))
        except UnicodeDecodeError:
            self._broken = True
