"""Token files: any slice over any shards is that of the whole, and nothing damaged is read."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import RequestError
from training.shards import TokenStream, token_type, write_shard


@pytest.mark.parametrize(("vocabulary", "dtype"), [(258, "<u2"), (65_536, "<u2"), (65_537, "<u4"), (150_000, "<u4")])
def test_ids_take_the_bytes_that_the_vocabulary_asks(vocabulary, dtype, tmp_path):
    assert token_type(vocabulary) == dtype
    ids = np.array([0, vocabulary - 1])
    entry = write_shard(tmp_path / "tokens.bin", [ids], dtype)
    assert TokenStream(tmp_path, [entry], dtype)[:].tolist() == ids.tolist()
    assert (tmp_path / "tokens.bin").stat().st_size == 2 * int(dtype[-1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 65_535), min_size=1, max_size=9), max_size=6), st.slices(40))
def test_slices_are_those_of_the_whole(tmp_path_factory, shards, place):
    folder = tmp_path_factory.mktemp("shards")
    entries = [write_shard(folder / f"{i}.bin", [np.array(ids)], "<u2") for i, ids in enumerate(shards)]
    stream = TokenStream(folder, entries, "<u2")
    whole = [token for ids in shards for token in ids]
    assert len(stream) == len(whole)
    if place.step in (None, 1):
        assert stream[place].tolist() == whole[place] and stream[place].dtype == np.dtype("<u2")
    else:
        with pytest.raises(ValueError, match="step"):
            stream[place]


def test_the_entry_tells_what_was_written(tmp_path):
    entry = write_shard(tmp_path / "a.bin", (np.arange(start, start + 10) for start in (0, 10)), "<u2")
    digest = hashlib.sha256(np.arange(20, dtype="<u2").tobytes()).hexdigest()
    assert entry == {"file": "a.bin", "tokens": 20, "sha256": digest}


def test_a_failed_shard_leaves_nothing(tmp_path):
    def parts():
        yield np.arange(5)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write_shard(tmp_path / "a.bin", parts(), "<u2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "is missing or has not the 20 bytes"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "is missing or has not the 20 bytes"),
        (lambda path: path.write_bytes(bytes(20)), "has changed: its SHA-256 is not the manifest's"),
    ],
)
def test_a_damaged_shard_is_one_clear_error(tmp_path, damage, words):
    entry = write_shard(tmp_path / "a.bin", [np.arange(10)], "<u2")
    damage(tmp_path / "a.bin")
    with pytest.raises(RequestError, match=words):
        TokenStream(tmp_path, [entry], "<u2")
