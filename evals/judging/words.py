"""Words of a text in any script, for counting: Chinese and Japanese characters one by one, else runs of letters."""

import re

# Kana and the CJK ideographs with their extensions and compatibility forms; all are written without spaces.
SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+")


def words(text: str) -> list[str]:
    """The words in lower case, without punctuation: `["2", "只", "cats"]` of `2只 cats!`."""
    return WORD.findall(text.lower())
