"""Texts brought to one form: Unicode NFC, plain line ends, no invisible characters."""

import re
import unicodedata

# Control characters but tab and newline; soft hyphen, zero-width space, word joiner, byte-order mark, direction marks,
# half characters. The zero-width joiners stay: Persian, Indic scripts and emoji are spelt with them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # \x85 is a line end
    "\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACE_AT_LINE_END = re.compile(r"[^\S\n]+(?=\n)")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean(text: str) -> str:
    """The text in NFC, with `\\n` as its only line end, at most one blank line in a row, and no space at line ends.

    Applying it again changes nothing. NFC (Unicode standard annex 15) keeps what a reader sees; NFKC would turn
    superscripts and ligatures into other characters.
    """
    text = _INVISIBLE.sub("", _LINE_END.sub("\n", text))
    text = _SPACE_AT_LINE_END.sub("", unicodedata.normalize("NFC", text))
    return _BLANK_LINES.sub("\n\n", text).strip()
