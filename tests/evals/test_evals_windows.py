"""A text as windows: every byte belongs to one token, and a window's losses do not depend on its neighbours."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from evals.text_losses.scoring import groups, losses_of, token_losses
from evals.text_losses.windows import Windows, encode_with_ends


@given(st.text(min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_the_tokens_cover_every_byte_of_the_text_once(tiny_tokenizer, text):
    text = text.encode("utf-8", "ignore").decode()
    ids, ends = encode_with_ends(tiny_tokenizer, text)
    assert len(ids) == len(ends)
    assert (np.diff(ends) >= 0).all()
    assert ends[-1] == len(text.encode())


def test_a_tokenizer_without_offsets_counts_bytes_by_decoding(tiny_tokenizer):
    class Slow:
        is_fast = False
        bos_token_id = tiny_tokenizer.bos_token_id
        decode = staticmethod(tiny_tokenizer.decode)
        convert_ids_to_tokens = staticmethod(tiny_tokenizer.convert_ids_to_tokens)

        def __call__(self, text, return_offsets_mapping, verbose):
            assert not return_offsets_mapping
            return tiny_tokenizer(text)

    text = "The gardener ties the young branches to the wall, and cuts the others."
    ids, ends = encode_with_ends(Slow(), text)
    assert list(ends) == list(encode_with_ends(tiny_tokenizer, text)[1])


def test_bytes_of_characters_outside_a_vocabulary_are_counted_once():
    """A tokenizer without offsets that falls back to bytes: each alone decodes to three bytes of U+FFFD."""
    vocabulary = {"<unk>": 0, "a": 1, "b": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")

    class Slow:
        is_fast = False
        decode = staticmethod(fast.decode)
        convert_ids_to_tokens = staticmethod(fast.convert_ids_to_tokens)

        def __call__(self, text, return_offsets_mapping, verbose):
            return fast(text)

    text = "a剪枝😀b剪a"
    ids, ends = encode_with_ends(Slow(), text)
    assert ends[-1] == len(text.encode()) == len(ids) and ends[0] == 1
    assert list(ends) == sorted(ends)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_windows_of_any_lengths_have_the_losses_that_each_has_alone(tiny_model, data):
    model = tiny_model()
    shapes = data.draw(st.lists(st.integers(2, 128).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1)))))
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    ids = [random.integers(0, 320, size=length) for length, _ in shapes]
    first = np.array([first for _, first in shapes], dtype=int)
    windows = Windows(ids, first, {}, np.zeros(len(ids)), {})
    found = losses_of(windows, lambda group, progress: token_losses(model, group.ids, group.first, progress))
    assert len(found) == len(ids)
    for losses, row, start in zip(found, ids, first, strict=True):
        alone = token_losses(model, torch.from_numpy(row)[None])[0, start - 1 :]
        np.testing.assert_allclose(losses, alone, rtol=1e-4, atol=1e-5)


def test_groups_hold_every_window_once_the_longest_first():
    lengths = [5, 70, 64, 128, 127, 3, 65]
    windows = Windows([np.zeros(n, dtype=int) for n in lengths], np.ones(7, dtype=int), {}, np.zeros(7), {})
    found = groups(windows)
    assert sorted(row for group in found for row in group.rows) == list(range(7))
    widths = [group.ids.shape[1] for group in found]
    assert widths == sorted(widths, reverse=True) and widths[0] == 128
    assert all(group.ids.shape[1] - lengths[row] < 64 for group in found for row in group.rows)
