"""Bytes of packed weights against scipy and by hand, and of compressed files."""

import sys
import zlib

import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evals.cost.compression import CHUNK, compressed_bytes
from evals.cost.sparse_storage import bitmask_bytes, csr_bytes, fits_two_of_four, sparse_bytes, two_of_four_bytes
from models.errors import Cancelled


def layer(weight):
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    made.weight = nn.Parameter(weight)
    return made


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_csr_is_as_large_as_scipys(rows, columns, density):
    matrix = scipy.sparse.random(rows, columns, density, format="csr", dtype="float32", random_state=0)
    expected = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert csr_bytes(rows, matrix.nnz, 4) == expected


def test_a_bitmask_of_a_few_weights_takes_a_whole_byte():
    assert bitmask_bytes(9, 0, 2) == 2


def test_a_half_of_2_of_4_takes_its_values_and_two_bits_each():
    weight = torch.ones(8, 16, dtype=torch.bfloat16)
    weight.view(-1, 4)[:, :2] = 0
    found = sparse_bytes(layer(weight))
    assert found.two_of_four == two_of_four_bytes(128, 2) == 64 * 2 + 64 * 2 // 8
    assert found.bitmask == 128 // 8 + 64 * 2
    assert found.csr == 256  # 64 values with indices of four bytes are more than 128 values
    assert (found.matrices, found.fitting) == (1, 1)


def test_one_group_of_three_is_enough_not_to_fit():
    weight = torch.zeros(8, 16)
    weight[:, ::4] = 1
    assert fits_two_of_four(weight)
    weight[0, :3] = weight[:3, 0] = 1  # against both directions
    assert not fits_two_of_four(weight)
    assert sparse_bytes(layer(weight)).two_of_four == 8 * 16 * 4


def test_inputs_may_be_the_rows_as_in_gpt2_and_experts_may_be_stacked():
    weight = torch.ones(3, 8, 10)
    weight[:, ::2] = 0
    assert fits_two_of_four(weight) and fits_two_of_four(weight[0])
    assert not fits_two_of_four(torch.ones(8, 10))
    assert not fits_two_of_four(torch.zeros(6, 10))  # no fours in either direction


def test_a_sparse_matrix_is_smallest_as_csr():
    weight = torch.zeros(64, 64)
    weight[::8, 0] = 1
    found = sparse_bytes(layer(weight))
    assert found.csr == 8 * 8 + 65 * 4 < found.bitmask == 4096 // 8 + 8 * 4


def test_tied_weights_vectors_and_buffers_count_as_they_are(tiny_model):
    model = tiny_model(tie_word_embeddings=True)
    found = sparse_bytes(model)
    whole = sum(p.numel() for p in model.parameters()) * 4 + sum(b.numel() * b.element_size() for b in model.buffers())
    assert found.bitmask == found.csr == found.two_of_four == whole
    assert found.matrices == 1 + 7 * 3 and found.fitting == 0


@pytest.fixture
def files(tmp_path):
    contents = [bytes(CHUNK + 5), bytes(range(256)) * 40]
    paths = [tmp_path / f"{at}.bin" for at in range(2)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_files_are_compressed_by_zstd_where_it_is_installed(files):
    zstandard = pytest.importorskip("zstandard")
    found = compressed_bytes(files)
    stream = zstandard.ZstdCompressor(level=3)
    # A stream of unknown length has a header of its own, a few bytes apart from that of a whole.
    assert found.bytes == pytest.approx(sum(len(stream.compress(path.read_bytes())) for path in files), abs=20)
    assert found.compressor == "zstd 3"


def test_the_fallback_is_named(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    found = compressed_bytes(files)
    assert found.bytes == sum(len(zlib.compress(path.read_bytes(), 6)) for path in files)
    assert found.compressor == "zlib 6"


def test_compressing_shows_progress_and_can_be_cancelled(files):
    seen = []
    compressed_bytes(files, lambda fraction, message: seen.append(fraction))
    assert seen == sorted(seen) and seen[-1] == 1 and len(seen) == 3

    def cancel(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        compressed_bytes(files, cancel)
