"""Calibration text: windows, sources, and what falls short."""

import copy
import gzip
import json
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import EspalierError, RequestError
from pruning import PruningConfig
from pruning.calibrating.windows import calibration_windows, cut, make_batches, window_length


@given(tokens=st.integers(0, 300), samples=st.integers(1, 12), length=st.integers(2, 40), seed=st.integers(0, 5))
def test_windows_are_disjoint_runs_of_the_stream(tokens, samples, length, seed):
    pieces = cut(list(range(tokens)), samples, length, seed)
    whole = tokens // length
    assert len(pieces) <= samples
    flat = [token for piece in pieces for token in piece]
    assert flat == sorted(set(flat))  # in order, none twice
    assert all(piece == list(range(piece[0], piece[0] + len(piece))) for piece in pieces)
    if whole >= samples:
        assert [len(piece) for piece in pieces] == [length] * samples
    elif tokens % length != 1:
        assert len(flat) == tokens  # all of it
    assert pieces == cut(list(range(tokens)), samples, length, seed)


def test_the_seed_decides_the_places():
    stream = list(range(1000))
    assert cut(stream, 5, 10, 0) != cut(stream, 5, 10, 1)


def test_batches_hold_every_token_once_and_no_padding():
    pieces = [[1] * 2048, [2] * 2048, [3] * 2048, [4] * 7]
    batches = make_batches(pieces, 2048)
    assert [tuple(batch.ids.shape) for batch in batches] == [(2, 2048), (1, 2048), (1, 7)]
    assert [row for batch in batches for row in batch.ids.tolist()] == pieces
    assert all(batch.mask.all() for batch in batches)


def used(model, tokenizer, texts=None, **settings):
    config = PruningConfig(**{"samples": 4, "sequence_length": 16} | settings)
    return calibration_windows(model, tokenizer, config, texts)


def test_a_short_text_is_used_whole_and_reported(tiny_model, tiny_tokenizer):
    windows = used(tiny_model("llama"), tiny_tokenizer, ["The tree bears fruit when it is pruned."])
    assert windows.windows < 4 and windows.tokens > 5
    assert "not 4" in windows.warnings[0]
    assert windows.as_dict()["windows_asked"] == 4
    assert sum(int(batch.mask.sum()) for batch in windows.batches) == windows.tokens


def test_documents_are_parted_by_the_end_of_text(tiny_model, tiny_tokenizer):
    windows = used(tiny_model("llama"), tiny_tokenizer, ["one", "", "two"])
    ids = windows.batches[0].ids[0][windows.batches[0].mask[0]].tolist()
    assert tiny_tokenizer.decode(ids) == "<|endoftext|>one<|endoftext|>two"


@pytest.mark.parametrize("texts", [[], [""], ["  \n"]])
def test_no_text_is_refused(tiny_model, tiny_tokenizer, texts):
    with pytest.raises(RequestError, match="fewer than 2 tokens"):
        used(tiny_model("llama"), tiny_tokenizer, texts)


def test_window_length(tiny_model):
    model = tiny_model("llama")
    assert window_length(model, None) == 128 and window_length(model, 20) == 20
    with pytest.raises(RequestError, match="context of 128"):
        window_length(model, 129)
    assert window_length(tiny_model("llama", max_position_embeddings=100_000), None) == 2048


def test_embedded(tiny_model, tiny_tokenizer):
    windows = used(tiny_model("llama"), tiny_tokenizer, calibration="embedded", samples=8, sequence_length=64)
    assert windows.windows == 8 and windows.tokens == 512 and not windows.warnings


def test_self_is_what_the_model_writes_and_depends_on_the_seed_alone(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")

    def ids(seed: int) -> list:
        state = torch.random.get_rng_state()
        windows = used(model, tiny_tokenizer, calibration="self", seed=seed)
        assert torch.equal(torch.random.get_rng_state(), state)
        return [batch.ids.tolist() for batch in windows.batches]

    assert ids(0) == ids(0) != ids(1)


TEXT = "The gardener ties the young branches to the wall. " * 10


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.jsonl.gz"])
def test_files_of_every_kind_read_alike(tiny_model, tiny_tokenizer, tmp_path, name):
    content = TEXT if ".txt" in name else json.dumps({"text": TEXT, "more": 1}) + "\n\n"
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    windows = used(tiny_model("llama"), tiny_tokenizer, calibration=str(tmp_path / name))
    expected = used(tiny_model("llama"), tiny_tokenizer, [TEXT])
    assert [batch.ids.tolist() for batch in windows.batches] == [batch.ids.tolist() for batch in expected.batches]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.txt", None, "There is no file"),
        ("a.txt", b"\xff\xfe\xfa", "UTF-8"),
        ("a.txt.gz", b"not gzip", "cannot be read"),
        ("a.txt.gz", gzip.compress(TEXT.encode(), mtime=0)[:20], "cannot be read"),
        ("a.jsonl", b'{"text": "fine"}\n{"words": "no"}\n', "line 2"),
        ("a.jsonl", b"{broken\n", "line 1"),
        ("a.csv", b"text\nhello\n", "not a text that can be read"),
        ("a.txt", b"", "fewer than 2 tokens"),
    ],
)
def test_bad_files_are_one_clear_line(tiny_model, tiny_tokenizer, tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=says) as caught:
        used(tiny_model("llama"), tiny_tokenizer, calibration=str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_hub_data_set_without_the_library_says_what_to_do(tiny_model, tiny_tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RequestError, match="pip install datasets"):
        used(tiny_model("llama"), tiny_tokenizer, calibration="owner/name")


def test_a_hub_data_set_is_read_from_its_stream(tiny_model, tiny_tokenizer, monkeypatch):
    """With a stand-in for the library: the call that is made, and errors made plain."""

    class Rows(list):
        def shuffle(self, seed, buffer_size):
            return self

    class Library:
        @staticmethod
        def get_dataset_split_names(repo, config_name, revision):
            return ["train", "test"]

        @staticmethod
        def load_dataset(repo, config, *, revision, split, streaming):
            assert (repo, config, revision, split, streaming) == ("owner/name", "en", "v1", "train", True)
            return Rows([{"text": TEXT}])

    monkeypatch.setitem(sys.modules, "datasets", Library)
    assert used(tiny_model("llama"), tiny_tokenizer, calibration="owner/name@v1:en").windows == 4
    with pytest.raises(EspalierError, match="could not be fetched"):
        used(tiny_model("llama"), tiny_tokenizer, calibration="owner/other")


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("texts", [None, ["one tree", "two walls and a pear " * 40]])
def test_every_window_begins_with_what_the_tokenizer_puts_before_a_text(tiny_model, tiny_tokenizer, family, texts):
    windows = used(tiny_model(family), tiny_tokenizer, texts)
    rows = [row.tolist() for batch in windows.batches for row in batch.ids]
    assert len(rows) == 4 and all(len(row) == 16 and row[0] == 0 for row in rows)
    assert rows[0][1] != 0  # not twice
    assert windows.begin_with == (0,) and windows.as_dict()["begin_with"] == [0]
    assert windows.tokens == 64


def silent_tokenizer(tokenizer, bos="<|endoftext|>"):
    """A copy that puts nothing before a text."""
    from tokenizers.processors import ByteLevel

    quiet = copy.deepcopy(tokenizer)
    quiet.backend_tokenizer.post_processor = ByteLevel(trim_offsets=False)
    quiet.bos_token = bos
    assert quiet("a")["input_ids"] == tokenizer("a", add_special_tokens=False)["input_ids"]
    return quiet


def test_a_model_that_needs_bos_gets_it_though_the_tokenizer_adds_none(tiny_model, tiny_tokenizer):
    quiet = silent_tokenizer(tiny_tokenizer)
    assert used(tiny_model("gemma2"), quiet).begin_with == (0,)
    assert used(tiny_model("llama"), quiet).begin_with == ()
    assert used(tiny_model("gemma2"), silent_tokenizer(tiny_tokenizer, bos=None)).begin_with == ()


def test_a_window_too_short_for_bos_and_text_has_none(tiny_model, tiny_tokenizer):
    windows = used(tiny_model("llama"), tiny_tokenizer, sequence_length=2)
    assert windows.begin_with == () and windows.tokens == 8
