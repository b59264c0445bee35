"""llama2.c checkpoints: the converted model gives the logits of the original, its tokenizer the same ids."""

import struct

import numpy as np
import pytest
import torch

from models import load
from models.errors import RequestError
from models.formats.llama2c import convert, merges, read_tokenizer

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, VOCABULARY, POSITIONS = 16, 24, 2, 4, 2, 270, 32
PIECES = [" ", "a", "b", "c", "ab", "abc", "bc", " a", " ab", " abc", "."]


def write_checkpoint(path, tied=True, seed=0):
    """A random checkpoint; returns its tensors by name, as llama2.c holds them."""
    random = np.random.default_rng(seed)
    head = HIDDEN // HEADS
    shapes = {
        "embedding": (VOCABULARY, HIDDEN), "norm_att": (LAYERS, HIDDEN), "wq": (LAYERS, HIDDEN, HIDDEN),
        "wk": (LAYERS, KV_HEADS * head, HIDDEN), "wv": (LAYERS, KV_HEADS * head, HIDDEN),
        "wo": (LAYERS, HIDDEN, HIDDEN), "norm_ffn": (LAYERS, HIDDEN), "w1": (LAYERS, INNER, HIDDEN),
        "w2": (LAYERS, HIDDEN, INNER), "w3": (LAYERS, INNER, HIDDEN), "norm": (HIDDEN,),
        "tables": (2, POSITIONS, head // 2),
    }  # fmt: skip
    tensors = {name: random.normal(0, 0.3, shape).astype("<f4") for name, shape in shapes.items()}
    if not tied:
        tensors["head"] = random.normal(0, 0.3, (VOCABULARY, HIDDEN)).astype("<f4")
    header = (HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, VOCABULARY if tied else -VOCABULARY, POSITIONS)
    path.write_bytes(struct.pack("<7i", *header) + b"".join(tensor.tobytes() for tensor in tensors.values()))
    return tensors


def write_vocabulary(path):
    pieces = [
        b"<unk>",
        b"\n<s>\n",
        b"\n</s>\n",
        *(f"<0x{byte:02X}>".encode() for byte in range(256)),
        *map(str.encode, PIECES),
    ]
    scores = [0.0] * 259 + [-float(len(PIECES) - len(piece)) for piece in PIECES]
    entries = [struct.pack("<fi", score, len(piece)) + piece for piece, score in zip(pieces, scores, strict=False)]
    path.write_bytes(struct.pack("<i", 7) + b"".join(entries))


def reference_logits(tensors: dict, ids: list[int]) -> np.ndarray:
    """llama2.c's forward pass in numpy: neighbouring pairs are turned, position by position."""
    head, group = HIDDEN // HEADS, HEADS // KV_HEADS

    def norm(x, weight):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weight

    def turn(x):
        pairs = x.reshape(len(x), -1, head // 2, 2)
        angles = np.outer(np.arange(len(x)), 10000.0 ** (-np.arange(0, head, 2) / head))[:, None]
        first, second = pairs[..., 0], pairs[..., 1]
        turned = [first * np.cos(angles) - second * np.sin(angles), first * np.sin(angles) + second * np.cos(angles)]
        return np.stack(turned, -1).reshape(len(x), -1, head)

    x = tensors["embedding"][ids].astype(np.float64)
    for layer in range(LAYERS):
        given = norm(x, tensors["norm_att"][layer])
        q, k = turn(given @ tensors["wq"][layer].T), turn(given @ tensors["wk"][layer].T)
        v = (given @ tensors["wv"][layer].T).reshape(len(x), KV_HEADS, head)
        mixed = np.zeros((len(x), HEADS, head))
        for h in range(HEADS):
            scores = q[:, h] @ k[:, h // group].T / np.sqrt(head)
            scores[np.triu_indices(len(x), 1)] = -np.inf
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, h] = shares / shares.sum(-1, keepdims=True) @ v[:, h // group]
        x = x + mixed.reshape(len(x), -1) @ tensors["wo"][layer].T
        given = norm(x, tensors["norm_ffn"][layer])
        gate = given @ tensors["w1"][layer].T
        x = x + (gate / (1 + np.exp(-gate)) * (given @ tensors["w3"][layer].T)) @ tensors["w2"][layer].T
    return norm(x, tensors["norm"]) @ tensors.get("head", tensors["embedding"]).T


@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_are_those_of_the_original(tmp_path, tied):
    tensors = write_checkpoint(tmp_path / "model.bin", tied)
    write_vocabulary(tmp_path / "tok.bin")
    convert(tmp_path / "model.bin", tmp_path / "tok.bin", tmp_path / "folder")
    model = load(str(tmp_path / "folder"), "cpu", "float32").model
    ids = [1, 7, 260, 13, 5, 99]
    found = model(torch.tensor([ids])).logits[0].detach().numpy()
    np.testing.assert_allclose(found, reference_logits(tensors, ids), atol=1e-4)


def test_the_tokenizer_merges_by_score_and_falls_back_to_bytes(tmp_path):
    write_vocabulary(tmp_path / "tok.bin")
    tokenizer = read_tokenizer(tmp_path / "tok.bin", VOCABULARY)
    first = 3 + 256
    ids = {piece: first + index for index, piece in enumerate(PIECES)}
    assert tokenizer("abc a.")["input_ids"] == [1, ids[" abc"], ids[" a"], ids["."]]
    assert tokenizer("ü")["input_ids"] == [1, ids[" "], *(3 + byte for byte in "ü".encode())]
    for text in ("abc a.", "ü 花 b", "  two"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_merges_are_every_split_best_piece_first():
    pieces = [("a", -3.0), ("b", -3.0), ("ab", -1.0), ("aba", -0.5), ("<0x41>", 0.0)]
    assert merges(pieces) == [("ab", "a"), ("a", "b")]


def test_what_is_no_checkpoint_is_refused(tmp_path):
    write_checkpoint(tmp_path / "model.bin")
    write_vocabulary(tmp_path / "tok.bin")
    whole = (tmp_path / "model.bin").read_bytes()
    for name, data, said in (
        ("short.bin", whole[:8], "too short"),
        ("cut.bin", whole[:-4000], "ends before its last tensor"),
        ("other.bin", bytes(4000), "header"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RequestError, match=said):
            convert(tmp_path / name, tmp_path / "tok.bin", tmp_path / "folder")
    with pytest.raises(RequestError, match="no llama2.c vocabulary"):
        convert(tmp_path / "model.bin", tmp_path / "model.bin", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
