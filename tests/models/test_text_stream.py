"""Ids turned into text as they come: whatever they are, the pieces are what the tokenizer makes of all of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from models.decoding import Generation
from models.sampling import Sampling
from models.text.text_stream import UNKNOWN, TextStream

LETTERS = "▁abcdefghijklmnopqrstuvwxyzHT.,!"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TEXTS = [
    "Hello 剪枝模型很好。 the end",
    "smile 😀😀 and 👩‍👩‍👧 fine",
    "שלום עולם",
    "naïve café",
    "日本語のテキスト",
    "line\nline\n\n\n  two  spaces ",
    "\ufffd a real one \ufffd",
]


def fast(inner: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def fallback_bpe(strips: bool) -> PreTrainedTokenizerFast:
    """As Llama-2, Mistral and Phi-3 (`strips`: the first space is dropped) or Gemma decode."""
    pieces = ["<unk>", "<s>", "</s>", *BYTES, *LETTERS, "▁▁", "▁th", "▁the", "th", "the"]
    merges = [("▁", "▁"), ("t", "h"), ("▁", "th"), ("▁th", "e"), ("th", "e")]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    inner = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    prepend = [normalizers.Prepend("▁")] if strips else []
    inner.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(content=" ", left=1)] if strips else []
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    inner.decoder = decoders.Sequence(steps)
    return fast(inner)


def fallback_unigram() -> PreTrainedTokenizerFast:
    pieces = ["<unk>", "<s>", "</s>", *BYTES, *LETTERS, "▁the"]
    inner = Tokenizer(models.Unigram([(piece, -float(at)) for at, piece in enumerate(pieces)], 0, byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    return fast(inner)


def suffixed() -> PreTrainedTokenizerFast:
    """As GPT-1: the end of a word is marked, and the last one's space dropped."""
    pieces = ["<unk>", "<s>", "</s>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    inner = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, [], end_of_word_suffix="</w>"))
    inner.decoder = decoders.BPEDecoder(suffix="</w>")
    return fast(inner)


def word_pieces() -> PreTrainedTokenizerFast:
    pieces = ["<unk>", "<s>", "</s>", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    inner = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="<unk>"))
    inner.decoder = decoders.WordPiece()
    return fast(inner)


MAKERS = {
    "llama-2": lambda: fallback_bpe(strips=True),
    "gemma": lambda: fallback_bpe(strips=False),
    "unigram": fallback_unigram,
    "suffix": suffixed,
    "word pieces": word_pieces,
}


@pytest.fixture(scope="module")
def tokenizers(tiny_tokenizer):
    return {name: make() for name, make in MAKERS.items()} | {"byte level": tiny_tokenizer}


def streamed(tokenizer, ids):
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in ids]
    pieces.append(stream.finish())
    return stream, pieces


def whole(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["llama-2", "gemma", "byte level"])
def test_a_text_comes_back_without_a_broken_character(tokenizers, name, text):
    tokenizer = tokenizers[name]
    stream, pieces = streamed(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"])
    assert "".join(pieces) == stream.text == stream.seen == text
    assert sum(piece.count(UNKNOWN) for piece in pieces) == text.count(UNKNOWN)


@pytest.mark.parametrize("name", [*MAKERS, "byte level"])
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_any_ids_are_the_text_of_all_of_them(tokenizers, name, data):
    tokenizer = tokenizers[name]
    last = len(tokenizer) - 1
    # Special tokens, bytes and spaces are drawn more often than by chance: what surprises lies between them.
    pieces = ("▁", "a", BYTES[0xE5], BYTES[0x89], BYTES[0xAA])
    often = [*range(3), *(tokenizer.convert_tokens_to_ids(piece) for piece in pieces)]
    drawn = st.one_of(st.integers(0, last), st.sampled_from([token for token in often if token is not None]))
    ids = data.draw(st.lists(drawn, max_size=60))
    stream, pieces = streamed(tokenizer, ids)
    assert "".join(pieces) == stream.text == whole(tokenizer, ids)


def test_a_special_token_between_two_bytes_of_a_character_is_not_there(tokenizers):
    tokenizer = tokenizers["llama-2"]
    first, second, third = tokenizer.convert_tokens_to_ids(["<0xE5>", "<0x89>", "<0xAA>"])
    stream, pieces = streamed(tokenizer, [first, tokenizer.eos_token_id, second, third])
    assert stream.text == "剪" and UNKNOWN not in "".join(pieces)


def test_an_unfinished_row_of_bytes_can_be_looked_at(tokenizers):
    tokenizer = tokenizers["llama-2"]
    ids = tokenizer("a\n剪枝", add_special_tokens=False)["input_ids"]
    stream, seen = TextStream(tokenizer), []
    for token in ids:
        stream.push(token)
        seen.append(stream.seen)
        assert UNKNOWN not in stream.seen
    assert seen[-7:] == ["a\n", "a\n", "a\n", "a\n剪", "a\n剪", "a\n剪", "a\n剪枝"]
    assert stream.text == "a" and not stream.is_certain
    assert (stream.finish(), stream.text) == ("\n剪枝", "a\n剪枝")


def test_a_row_of_bytes_with_one_out_of_place_is_told_as_the_tokenizer_tells_it(tokenizers):
    tokenizer = tokenizers["llama-2"]
    ids = tokenizer.convert_tokens_to_ids(["a", "<0xE5>", "<0x89>", "<0xAA>", "<0xFF>", "b"])
    stream, pieces = streamed(tokenizer, ids)
    assert stream.text == "".join(pieces) == "a" + 4 * UNKNOWN + "b" == whole(tokenizer, ids)


def test_an_id_beyond_the_vocabulary_is_no_text(tiny_tokenizer):
    ids = tiny_tokenizer("The gardener", add_special_tokens=False)["input_ids"]
    stream, _ = streamed(tiny_tokenizer, [*ids[:2], len(tiny_tokenizer) + 5, *ids[2:]])
    assert stream.text == "The gardener"


class Counting:
    """A tokenizer that counts the ids which it decodes."""

    def __init__(self, tokenizer):
        self.tokenizer, self.decoded = tokenizer, 0
        self.convert_ids_to_tokens = tokenizer.convert_ids_to_tokens

    def decode(self, ids, **options):
        self.decoded += len(ids)
        return self.tokenizer.decode(ids, **options)


@pytest.mark.parametrize("kind", ["prose", "one row of bytes", "bytes out of place", "blank"])
@pytest.mark.parametrize("name", ["llama-2", "unigram", "byte level"])
def test_the_work_grows_with_the_text_and_not_with_its_square(tokenizers, name, kind):
    tokenizer = tokenizers[name]
    bytewise = name == "byte level"
    ids = {
        "prose": tokenizer("the wall, and the tree. 剪 ", add_special_tokens=False)["input_ids"],
        "one row of bytes": tokenizer("剪枝", add_special_tokens=False)["input_ids"][-6:],
        "bytes out of place": [tokenizer.convert_tokens_to_ids("ī" if bytewise else "<0x89>")],
        "blank": [tokenizer.convert_tokens_to_ids("Ċ" if bytewise else "▁")],
    }[kind]
    many = (ids * 2000)[:2000]
    counting = Counting(tokenizer)
    stream = TextStream(counting)
    for token in many:
        stream.push(token)
    stream.finish()
    assert stream.text == whole(tokenizer, many)
    assert counting.decoded < 60 * len(many)


def test_a_stop_text_made_of_bytes_ends_at_once(tokenizers, tiny_model, monkeypatch):
    """In Llama-2's vocabulary a new line is a byte: it must end an answer when it comes, not a token later."""
    tokenizer = tokenizers["llama-2"]
    said = iter(tokenizer("a剪\nb", add_special_tokens=False)["input_ids"])
    monkeypatch.setattr("models.decoding.Sampler.choose", lambda self, history, logits: next(said))
    generation = Generation(tiny_model(), tokenizer, [5, 6], Sampling(20, stop=("\n",))).run()
    assert (generation.finished, generation.text) == ("stop", "a剪")
    assert tokenizer.convert_ids_to_tokens(generation.ids[-1]) == "<0x0A>"


def test_a_stop_text_that_begins_in_one_piece_and_ends_in_another_is_found(tokenizers, tiny_model, monkeypatch):
    tokenizer = tokenizers["llama-2"]
    said = iter(tokenizer("the wall. the end", add_special_tokens=False)["input_ids"])
    monkeypatch.setattr("models.decoding.Sampler.choose", lambda self, history, logits: next(said))
    generation = Generation(tiny_model(), tokenizer, [5, 6], Sampling(40, stop=("l. t", "zz"))).run()
    assert (generation.finished, generation.text) == ("stop", "the wal")
