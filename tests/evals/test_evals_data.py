"""The texts that perplexity may be taken on, and each way in which one can be wrong."""

import gzip
import sys
from types import SimpleNamespace

import pytest

from evals.text_losses.data import as_text, embedded, load_text
from evals.texts import prose
from models.errors import EspalierError, RequestError

LINES = '{"text": "One document."}\n\n{"text": "Another, from Zürich.", "more": 1}\n'
JOINED = "One document.\n\nAnother, from Zürich."


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "Plain text.\n", "Plain text.\n"),
        ("a.jsonl", LINES, JOINED),
        ("a.txt.gz", "Plain text.\n", "Plain text.\n"),
        ("a.jsonl.gz", LINES, JOINED),
        ("a.b.txt", "\ufeffWith a mark.", "With a mark."),
    ],
)
def test_files_are_read(tmp_path, name, content, expected):
    raw = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    text = load_text(str(tmp_path / name))
    assert (text.id, text.content) == (name, expected)
    assert text.documents == (tuple(JOINED.split("\n\n")) if "jsonl" in name else (expected,))


@pytest.mark.parametrize(
    ("name", "raw", "line"),
    [
        ("a.txt", b" \n\t", "is empty"),
        ("a.jsonl", b"", "is empty"),
        ("a.txt", b"caf\xe9", "not UTF-8 text"),
        ("a.jsonl", b'{"text": "a"}\n{"text": 1}', "line 2: `text` is 1, not a text"),
        ("a.jsonl", b'{"text": "a"}\n["text"]', "line 2: every line"),
        ("a.jsonl", b'\n{"text": "a"', "line 2: every line"),
        ("a.jsonl", b'{"text": "\\ud800"}', "half a character at 0"),
        ("a.txt.gz", b"not gzip", "cannot be read"),
        ("a.txt.gz", gzip.compress(b"cut off" * 99, mtime=0)[:-9], "cannot be read"),
        ("a.csv", b"text", "not a text that can be read here"),
        ("a", b"text", "not a text that can be read here"),
        ("a.gz", b"text", "not a text that can be read here"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, name, raw, line):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(RequestError, match=line) as refusal:
        load_text(str(tmp_path / name))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("data", ["absent.txt", "./absent", "/absent/data", "no such words", "absent.jsonl.gz"])
def test_a_missing_file_is_not_looked_for_on_the_hub(data):
    with pytest.raises(RequestError, match="There is no file"):
        load_text(data)


def test_a_folder_is_not_a_text(tmp_path):
    with pytest.raises(RequestError, match="not a text"):
        load_text(str(tmp_path))


def test_the_embedded_text_is_known_by_its_name_or_its_content():
    assert load_text("embedded") == as_text(prose()) == embedded()
    assert embedded().content == prose() and len(embedded().documents) > 10
    assert as_text("Something else.").id == "text"


def test_without_the_library_a_hub_data_set_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RequestError, match="pip install datasets"):
        load_text("owner/name")


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the library `datasets`, which records what it is asked for."""
    asked = {}

    def load_dataset(repo, config, *, split, revision, streaming):
        asked.update(repo=repo, config=config, split=split, revision=revision)
        if repo == "no/network":
            raise ConnectionError("Couldn't reach the Hub\nand more")
        if repo == "wrong/config":
            raise ValueError("Config name is missing.\nPick one among: a, b")
        return iter([{"label": 1}] if repo == "no/text" else [{"text": "One."}, {"text": "Two."}])

    def get_dataset_split_names(repo, config_name, revision):
        return ["train", "validation"]

    library = SimpleNamespace(load_dataset=load_dataset, get_dataset_split_names=get_dataset_split_names)
    monkeypatch.setitem(sys.modules, "datasets", library)
    return asked


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        ("owner/name", ("owner/name", None, "validation", None)),
        ("owner/name@v1:raw-2", ("owner/name", "raw-2", "validation", "v1")),
        ("name:raw:train", ("name", "raw", "train", None)),
    ],
)
def test_a_hub_data_set_is_read_by_revision_configuration_and_split(hub, data, asked):
    text = load_text(data)
    assert tuple(hub[key] for key in ("repo", "config", "split", "revision")) == asked
    assert (text.content, text.revision) == ("One.\n\nTwo.", asked[3])
    assert text.id.endswith(asked[2])


@pytest.mark.parametrize(
    ("data", "error", "line"),
    [
        ("no/network", EspalierError, r"could not be fetched \(Couldn't reach the Hub\)"),
        ("wrong/config", RequestError, "could not be chosen: Config name is missing"),
        ("no/text", RequestError, "has the keys label, of which none is known"),
        ("owner/name:raw:dev", RequestError, "no split dev: use one of train, validation"),
    ],
)
def test_what_the_hub_cannot_give_is_told_in_one_line(hub, data, error, line):
    with pytest.raises(error, match=line) as failure:
        load_text(data)
    assert "\n" not in str(failure.value)
