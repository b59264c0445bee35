"""Makes the calibration text that ships, pruning/calibration/texts: four parts, cleansed of all that is measured on.

    python benchmarks/calibration_building.py --source DATA [--model smollm2]

`DATA` is the folder of training/README.md with the sets calib_cc0_gov, calib_cc0_factbook, calib_pd_code and
self_instruct. The same files give the same texts; what we wrote ourselves (*.txt of that folder) stays as it is. Writes
a .jsonl.zst a part, SOURCES.json (what the program reads: parts, sizes, SHA-256, licences, what was dropped) and
SOURCES.md (the same for people). With --model the tokens of its tokenizer are counted.
"""

import argparse
import io
import json
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import zstandard

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.calibration_texts import parts
from benchmarks.calibration_texts.cleansing import Cleanser
from benchmarks.command import command_line
from models import load
from models.errors import RequestError
from models.storage.files import write_json, write_text
from pruning.calibrating.encoding import Encoder
from pruning.calibrating.mixture import FOLDER, SOURCES, TEXT_BREAK, Stream

LEVEL = 19  # of zstd: the files are written once and read often
SIZES = {"prose": 590_000, "facts": 260_000, "code": 170_000, "chat": 400_000}  # characters at most, of each part
OURS = {"author": "written for Espalier", "licence": "that of Espalier"}
LONGEST = 1 << 20  # tokens of a document
APACHE = "LICENSE-APACHE-2.0"


def text_of(document: str | list[dict]) -> str:
    """What is said in a document."""
    return document if isinstance(document, str) else "\n".join(message["content"] for message in document)


def size(document: str | list[dict]) -> int:
    """How many characters a document has."""
    return len(document) if isinstance(document, str) else sum(len(message["content"]) for message in document)


def up_to(documents: Iterable, most: int) -> Iterator:
    """The first documents that have up to `most` characters together."""
    total = 0
    for document in documents:
        total += size(document)
        if total > most:
            return
        yield document


def packed(documents: Iterable) -> bytes:
    """The documents as JSON lines, `text` or `messages`, compressed."""
    lines = io.BytesIO()
    for document in documents:
        row = {"text": document} if isinstance(document, str) else {"messages": document}
        lines.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return zstandard.ZstdCompressor(level=LEVEL).compress(lines.getvalue())


def entry(file: str, part: str, documents: list, content: bytes, sources: list[dict]) -> dict:
    """What SOURCES.json says of a file."""
    return {
        "file": file,
        "part": part,
        "documents": len(documents),
        "characters": sum(map(size, documents)),
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "sources": sources,
    }


def own(folder: Path, cleanser: Cleanser) -> Iterator[dict]:
    """Our own texts, a file each: all of them prose. RequestError if one holds what is measured on."""
    for file in sorted(folder.glob("*.txt")):
        documents = file.read_text(encoding="utf-8").split(TEXT_BREAK)
        if list(cleanser.whole(file.name, documents, text_of)) != documents:
            raise RequestError(f"{file} holds a text that is measured on: write another.")
        yield entry(file.name, "prose", documents, file.read_bytes(), [OURS])


def made(root: Path, folder: Path) -> dict:
    """Writes the parts to `folder` and returns what SOURCES.json says."""
    cleanser = Cleanser(root)
    found = {
        "prose": (cleanser.prose("prose", parts.prose(root)), parts.GOV),
        "facts": (cleanser.prose("facts", parts.facts(root)), parts.FACTBOOK),
        "code": (cleanser.whole("code", parts.code(root), text_of), parts.CODE),
        "chat": (cleanser.whole("chat", parts.chat(root), text_of), parts.INSTRUCTIONS),
    }
    files = list(own(folder, cleanser))
    for part, (documents, origins) in found.items():
        chosen = list(up_to(documents, SIZES[part]))
        content, name = packed(chosen), f"{part}.jsonl.zst"
        (folder / name).write_bytes(content)
        files.append(entry(name, part, chosen, content, [vars(origin) for origin in origins]))
    return {"schema_version": 1, "command": command_line(), "files": files, "decontamination": cleanser.as_dict()}


def count_tokens(name: str, folder: Path, files: list[dict]) -> dict:
    """The tokens of every part, conversations in the model's own form, by its tokenizer."""
    encoder = Encoder(load(name).tokenizer, LONGEST)
    tokens: dict[str, int] = {}
    for file in files:
        for document in Stream.of(folder, file).documents():
            count = len(encoder.ids(document, file["file"]))
            tokens[file["part"]] = tokens.get(file["part"], 0) + count
    return {"model": name, "parts": tokens, "all": sum(tokens.values())}


def for_people(record: dict) -> str:
    """SOURCES.md."""
    lines = [
        "# Where the calibration texts come from", "",
        f"Made by `{record['command']}`; SOURCES.json says the same to programs, and what was dropped.",
        "The texts were shortened, cleaned and put in another order. No source endorses this project.", "",
        "| file | part | documents | characters | bytes | source | licence | SHA-256 |",
        "|:--|:--|--:|--:|--:|:--|:--|:--|",
    ]  # fmt: skip
    for file in record["files"]:
        sources = "<br>".join(
            f"{each['repository']} @ {each['commit'][:12]}" if "repository" in each else each["author"]
            for each in file["sources"]
        )
        licences = "<br>".join(each["licence"] for each in file["sources"])
        sizes = " | ".join(f"{file[key]:,}" for key in ("documents", "characters", "bytes"))
        lines.append(f"| {file['file']} | {file['part']} | {sizes} | {sources} | {licences} | {file['sha256'][:16]} |")
    if "tokens" in record:
        counted = ", ".join(f"{part} {count:,}" for part, count in record["tokens"]["parts"].items())
        lines += ["", f"Tokens of {record['tokens']['model']}: {record['tokens']['all']:,} ({counted})."]
    cleansed = record["decontamination"]
    dropped = {
        part: (cleansed["lines_cut"].get(part, 0), count) for part, count in cleansed["documents_dropped"].items()
    }
    dropped |= {part: (count, 0) for part, count in cleansed["lines_cut"].items() if part not in dropped}
    told = "; ".join(f"{part} {cut} lines and {whole} documents" for part, (cut, whole) in sorted(dropped.items()))
    lines += [
        "", f"Nothing in them has a run of words in common with the {len(cleansed['sets'])} sets that are measured on "
        f"({cleansed['rule']}). Left out for that, of all that was read: {told or 'nothing'}.",
        f"The Apache License 2.0, which the part chat is under, is in {APACHE}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the data folder")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder of our own texts, where the parts are put")
    parser.add_argument("--model", help="count the tokens of this model's tokenizer")
    options = parser.parse_args()
    record = made(options.source, options.out)
    if options.model:
        record["tokens"] = count_tokens(options.model, options.out, record["files"])
    write_json(options.out / SOURCES, record)
    write_text(options.out / "SOURCES.md", for_people(record))
    for file in record["files"]:
        print(f"{file['part']:6} {file['file']:20} {file['documents']:5} {file['characters']:9,} {file['bytes']:8,}")
    print(json.dumps({name: record["decontamination"][name] for name in ("lines_cut", "documents_dropped")}))
    print(record.get("tokens", ""))


if __name__ == "__main__":
    main()
