"""What names a file and what names a data set of the Hub. How both are read is tested where they are used."""

import gzip

import pytest

from models.text.documents import HUB_DATASET, file_documents, is_hub_name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("owner/name", ("owner/name", None, None, None)),
        ("owner/name@v1.0", ("owner/name", "v1.0", None, None)),
        ("name:raw-2:test", ("name", None, "raw-2", "test")),
        ("owner/name@refs/pr/1:en:train", ("owner/name", "refs/pr/1", "en", "train")),
    ],
)
def test_a_hub_name_has_a_revision_a_configuration_and_a_split(name, parts):
    assert is_hub_name(name)
    assert tuple(HUB_DATASET.fullmatch(name)[part] for part in ("repo", "revision", "config", "split")) == parts


@pytest.mark.parametrize(
    "name", ["./owner/name", "/owner/name", "~/name", "text.txt", "a/b.jsonl", "x.jsonl.gz", "two words", ""]
)
def test_a_path_is_no_hub_name(name):
    assert not is_hub_name(name)


@pytest.mark.parametrize("name", ["wiki.test.raw", "wiki.test.raw.gz", "prose.txt"])
def test_plain_text_is_one_document_by_any_of_its_names(tmp_path, name):
    text = " = Walls = \r\n\n A wall . \n"
    with (gzip.open if name.endswith(".gz") else open)(tmp_path / name, "wt", encoding="utf-8", newline="") as file:
        file.write(text)
    assert list(file_documents(tmp_path / name)) == [text] and not is_hub_name(name)
