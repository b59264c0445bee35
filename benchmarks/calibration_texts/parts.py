"""The parts of the embedded calibration text: which texts of which source, brought into which form."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from training.cleaning import clean
from training.sources import open_text

PERSONAL = re.compile(r"[\w.+-]+@[\w-]+\.\w+|\(\d{3}\) ?\d{3}-\d{4}|\b\d{3}-\d{3}-\d{4}\b")
LIST_LINE = re.compile(r"\s*([-*•–]|\d+[.)])\s")
LEAST = {"prose": 1200, "facts": 800, "code": 600}  # characters of a document
MOST = {"prose": 6000, "facts": 3000, "code": 3000}  # short enough that a few windows hold several of every part
FIELDS = (  # of the World Factbook; the others are lists
    "Background", "Geography - note", "Economic overview", "Population distribution", "Demographic profile", "Climate",
    "Natural hazards", "Environmental issues", "Broadcast media", "Terrain", "Industries", "National coat of arms",
)  # fmt: skip
LEAST_FIELD = 150  # characters
PACKED_LITERALS = 0.4  # of a file's characters in digits and quotes: a table, not code


@dataclass(frozen=True)
class Origin:
    """Where texts come from: the repository and its commit, the licence and who gave it, and the file below DATA."""

    repository: str
    commit: str
    licence: str
    file: str


GOV = (
    Origin("GSA/digitalgov.gov", "4979583206d90ff1707b097454a9b169ca9e95e4", "CC0 1.0, US government work",
           "calib_cc0_gov/gov_prose.jsonl.gz"),
    Origin("18F/18f.gsa.gov", "0a55c75e6d9b", "CC0 1.0, US government work", "calib_cc0_gov/gov_prose.jsonl.gz"),
    Origin("18F/guides", "debc24b34f23", "CC0 1.0, US government work", "calib_cc0_gov/gov_prose.jsonl.gz"),
)  # fmt: skip
FACTBOOK = (
    Origin("factbook/factbook.json", "8662a8b17a784841ab4528631b04090eb2f183eb",
           "CC0 1.0, public domain (CIA World Factbook)", "calib_cc0_factbook/factbook.jsonl.gz"),
)  # fmt: skip
CODE = (
    Origin("ytdl-org/youtube-dl", "956b8c585591b401a543e409accb163eeaaa1193", "Unlicense, public domain",
           "calib_pd_code/code.jsonl.gz"),
    Origin("nothings/stb", "31c1ad374564", "public domain (or MIT)", "calib_pd_code/code.jsonl.gz"),
)  # fmt: skip
INSTRUCTIONS = (
    Origin("tatsu-lab/stanford_alpaca", "761dc5bfbdeeffa89b8bff5d038781a4055f796a", "Apache-2.0 (self-instruct)",
           "self_instruct/seed_tasks.jsonl.gz"),
    Origin("yizhongw/self-instruct", "0b26ccaa415992100fa32df62d41b994cf928e23", "Apache-2.0",
           "self_instruct/user_oriented_instructions.jsonl.gz"),
)  # fmt: skip


def prose(root: Path) -> Iterator[str]:
    """Posts and guides of the US government, whole paragraphs up to the length of a document."""
    for row in _shuffled(_rows(root / GOV[0].file), "path"):
        paragraphs = [_paragraph(each) for each in clean(row["text"]).split("\n\n")]
        text = _beginning([each for each in paragraphs if each and not PERSONAL.search(each)], "\n\n", MOST["prose"])
        listed = sum(map(bool, map(LIST_LINE.match, text.split("\n"))))
        if len(text) >= LEAST["prose"] and listed < 0.4 * (text.count("\n") + 1):
            yield text


def facts(root: Path) -> Iterator[str]:
    """What the World Factbook says of a country in running text, under the country's name."""
    for row in _shuffled(_rows(root / FACTBOOK[0].file), "path"):
        fields = dict.fromkeys(clean(row["text"]).split("\n\n"))
        told = [each for each in fields if each.startswith(FIELDS) and len(each) >= LEAST_FIELD]
        text = _beginning([row["title"], *(each.replace("\n", " ") for each in told)], "\n\n", MOST["facts"])
        if len(text) >= LEAST["facts"]:
            yield text


def code(root: Path) -> Iterator[str]:
    """Pieces of source files between blank lines, Python and C in turn; the test data of extractors is left out."""
    rows = list(_shuffled(_rows(root / CODE[0].file), "path"))
    python = [row for row in rows if row["lang"] == "python" and "age_limit" not in row["text"]]
    queues = [
        _Pieces(piece for row in python for piece in _pieces(_without_tests(row["text"]))[:1]),
        _Pieces(_in_turn([_pieces(row["text"]) for row in rows if row["lang"] == "c"])),
    ]
    taken = [0, 0]
    while any(queue.left for queue in queues):  # as many characters of either, as long as there are
        index = min((i for i in (0, 1) if queues[i].left), key=lambda i: taken[i])
        piece = queues[index].pop()
        taken[index] += len(piece)
        if len(piece) >= LEAST["code"] and not PERSONAL.search(piece):
            yield piece


def chat(root: Path) -> Iterator[list[dict]]:
    """Instructions with their answers as conversations of two messages."""
    rows = [row for origin in INSTRUCTIONS for row in _rows(root / origin.file)]
    for row in _shuffled(rows, "id"):
        for instance in row["instances"][:1]:
            asked, given = clean(row["instruction"]), clean(instance["input"])
            answer = clean(instance["output"])
            if answer and not PERSONAL.search("\n".join((asked, given, answer))):
                asked = f"{asked}\n\n{given}" if given else asked
                yield [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


class _Pieces:
    def __init__(self, pieces):
        self.left = list(pieces)

    def pop(self) -> str:
        return self.left.pop(0)


def _rows(path: Path) -> list[dict]:
    with open_text(path) as lines:
        return [json.loads(line) for line in lines]


def _shuffled(rows: list[dict], key: str) -> list[dict]:
    """The rows in an order that their keys alone decide."""
    return sorted(rows, key=lambda row: sha1(row[key].encode()).hexdigest())


def _paragraph(text: str) -> str:
    """A paragraph in one line, unless it is a list."""
    lines = text.split("\n")
    return text.strip() if any(map(LIST_LINE.match, lines)) else " ".join(line.strip() for line in lines).strip()


def _beginning(pieces: list[str], joint: str, most: int) -> str:
    """As many of the first pieces, joined, as stay below `most` characters; at least one."""
    text = pieces[0] if pieces else ""
    for piece in pieces[1:]:
        if len(text) + len(joint) + len(piece) > most:
            break
        text += joint + piece
    return text


def _pieces(text: str) -> list[str]:
    """A source file in pieces of whole blocks between blank lines."""
    blocks, found, piece = clean_code(text).split("\n\n"), [], ""
    for block in blocks:
        if piece and len(piece) + len(block) > MOST["code"]:
            found.append(piece)
            piece = ""
        piece = f"{piece}\n\n{block}" if piece else block
    return [each for each in [*found, piece] if len(each) <= 2 * MOST["code"] and not _is_table(each)]


def clean_code(text: str) -> str:
    """Plain line ends, no space at their ends, one blank line between blocks; indentation as it is."""
    lines = "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n")


def _is_table(text: str) -> bool:
    return sum(character.isdigit() or character in "'\"" for character in text) > PACKED_LITERALS * len(text)


def _without_tests(text: str) -> str:
    """A Python file without the assignments to _TEST and _TESTS: descriptions of other people's videos."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ""
    lines = text.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) in ("_TEST", "_TESTS") for target in node.targets):
            lines[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    return "\n".join(line for line in lines if line is not None)


def _in_turn(lists: list[list[str]]) -> Iterator[str]:
    for place in range(max(map(len, lists), default=0)):
        yield from (each[place] for each in lists if place < len(each))
