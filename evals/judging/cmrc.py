"""Exact match and F1 of short answers in Chinese, as CMRC 2018 defines them (Cui et al. 2019).

The definitions are those of the official script, `cmrc2018_evaluate.py` v5 of github.com/ymcui/cmrc2018, which differ
from SQuAD's in three ways: the punctuation that is dropped is Chinese and a part of the ASCII marks; an answer is
segmented into single Chinese characters and, between them, NLTK's words; and F1 counts neither a bag of tokens nor,
as its name there (LCS) has it, a common subsequence, but the longest run of segments that both have in one piece.

The script lets NLTK part a stretch between Chinese characters into sentences first, for which it needs a model that
NLTK fetches; here the stretch is one sentence. Only a full stop within such a stretch can make a difference.
"""

import re
from collections.abc import Iterable, Sequence

from models.errors import RequestError

PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
CHINESE = re.compile("([\u4e00-\u9fa5])")


def exact_match(answer: str, references: Iterable[str]) -> float:
    """1.0 if the answer equals a reference, both in lower case and without `PUNCTUATION`, else 0.0."""
    return float(any(_bare(answer) == _bare(reference) for reference in references))


def run_f1(answer: str, references: Iterable[str]) -> float:
    """The best F1 over the references, in 0..1, of the longest run of segments that answer and reference share."""
    given = segments(answer)
    return max((_f1(given, segments(reference)) for reference in references), default=0.0)


def segments(text: str) -> list[str]:
    """Chinese characters one by one and NLTK's words between them, in lower case, without `PUNCTUATION`.

    Raises RequestError where there are such words and NLTK is not installed.
    """
    found: list[str] = []
    for piece in CHINESE.split(_bare(text)):
        if CHINESE.fullmatch(piece):
            found.append(piece)
        elif piece.strip():
            found += _words(piece)
    return found


def longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """How many items the longest run has that occurs in one piece in both sequences."""
    longest = 0
    lengths = [0] * (len(second) + 1)  # of the run that ends at one item of the first and each of the second
    for item in first:
        lengths = [0, *(lengths[at] + 1 if item == other else 0 for at, other in enumerate(second))]
        longest = max(longest, *lengths)
    return longest


def _bare(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in PUNCTUATION)


def _words(text: str) -> list[str]:
    try:
        from nltk.tokenize import word_tokenize
    except ImportError:
        raise RequestError("Words in a Chinese answer are parted by NLTK: pip install -r requirements.txt.") from None
    return word_tokenize(text, preserve_line=True)


def _f1(answer: list[str], reference: list[str]) -> float:
    shared = longest_run(answer, reference)
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0
