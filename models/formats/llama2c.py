"""Checkpoints of llama2.c (version 0) as plain Hugging Face folders: `convert(checkpoint, vocabulary, out)`.

The format, little-endian: seven int32 (hidden size, feed-forward size, layers, heads, KV heads, vocabulary size,
positions), then the tensors in fp32, each kind for all layers. Its rotary embedding turns neighbouring pairs, that of
transformers the two halves of a head, so the rows of q and k are put in another order; the product is the same.
"""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.console.quiet import quiet_transformers
from models.errors import RequestError
from models.storage.destination import try_folder
from models.storage.files import new_folder
from models.storage.reading import reading

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HEADER = struct.Struct("<7i")
SPACE = "▁"  # how SentencePiece writes a space
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"


def convert(checkpoint: Path | str, vocabulary: Path | str, out: Path | str) -> None:
    """Writes the model of a `.bin` checkpoint and its tokenizer to the folder `out`, whole or not at all.

    RequestError if a file is missing or of another format, or if `out` holds anything already.
    """
    try_folder(out)
    model = read_model(Path(checkpoint))
    tokenizer = read_tokenizer(Path(vocabulary), model.config.vocab_size)
    with new_folder(out) as folder, quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def read_model(path: Path) -> "LlamaForCausalLM":
    """The model of a checkpoint, fp32."""
    import torch
    from transformers import LlamaForCausalLM

    data = _read(path)
    if len(data) < HEADER.size:
        raise RequestError(f"{path} is no llama2.c checkpoint (too short): give a version 0 .bin file.")
    config, tied = _config(HEADER.unpack_from(data), path)
    tensors = _tensors(np.frombuffer(data, "<f4", offset=HEADER.size), config, tied, path)
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, strict=False)
    model.tie_weights()
    return model.eval()


def read_tokenizer(path: Path, size: int) -> "PreTrainedTokenizerFast":
    """The tokenizer of a llama2.c vocabulary of `size` pieces: SentencePiece BPE with byte fallback."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = _pieces(_read(path), size, path)
    ids = {piece: index for index, (piece, _) in enumerate(pieces)}
    if len(ids) != size:
        raise RequestError(f"{path} names a piece twice: it is damaged.")
    tokenizer = Tokenizer(models.BPE(ids, merges(pieces), unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(f"{BEGIN} $A", special_tokens=[(BEGIN, ids[BEGIN])])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN, bos_token=BEGIN, eos_token=BEGIN)


def merges(pieces: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """The merges of a scored vocabulary, the best first: every way to make a piece of two others."""
    known = {piece for piece, _ in pieces}
    ranked = sorted(pieces, key=lambda entry: -entry[1])
    return [
        (piece[:at], piece[at:])
        for piece, _ in ranked
        for at in range(1, len(piece))
        if piece[:at] in known and piece[at:] in known and not piece.startswith("<")
    ]


def _read(path: Path) -> bytes:
    with reading(path):
        return path.read_bytes()


def _config(header: tuple[int, ...], path: Path) -> "tuple[LlamaConfig, bool]":
    from transformers import LlamaConfig

    hidden, inner, layers, heads, kv_heads, vocabulary, positions = header
    if (
        min(hidden, inner, layers, heads, kv_heads, abs(vocabulary), positions) < 1
        or hidden % heads
        or heads % kv_heads
    ):
        raise RequestError(f"{path} is no llama2.c checkpoint (its header is {header}): give a version 0 .bin file.")
    tied = vocabulary > 0  # a head of its own is told by the sign
    config = LlamaConfig(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, vocab_size=abs(vocabulary), max_position_embeddings=positions, rms_norm_eps=1e-5,
        bos_token_id=1, eos_token_id=1, tie_word_embeddings=tied,
    )  # fmt: skip
    return config, tied


def _tensors(numbers: np.ndarray, config: "LlamaConfig", tied: bool, path: Path) -> dict[str, np.ndarray]:
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    per_head = hidden // heads
    taken = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal taken
        count = int(np.prod(shape))
        if taken + count > len(numbers):
            raise RequestError(f"{path} ends before its last tensor: fetch it again.")
        taken += count
        return numbers[taken - count : taken].reshape(shape)

    tensors = {"model.embed_tokens.weight": take(config.vocab_size, hidden)}
    kinds = (
        ("input_layernorm", (hidden,)),
        ("self_attn.q_proj", (hidden, hidden)),
        ("self_attn.k_proj", (kv_heads * per_head, hidden)),
        ("self_attn.v_proj", (kv_heads * per_head, hidden)),
        ("self_attn.o_proj", (hidden, hidden)),
        ("post_attention_layernorm", (hidden,)),
        ("mlp.gate_proj", (inner, hidden)),
        ("mlp.down_proj", (hidden, inner)),
        ("mlp.up_proj", (inner, hidden)),
    )
    turned = {"self_attn.q_proj": heads, "self_attn.k_proj": kv_heads}
    for kind, shape in kinds:
        for layer, tensor in enumerate(take(layers, *shape)):
            tensor = _by_halves(tensor, turned[kind]) if kind in turned else tensor
            tensors[f"model.layers.{layer}.{kind}.weight"] = tensor
    tensors["model.norm.weight"] = take(hidden)
    take(2, config.max_position_embeddings, per_head // 2)  # tables of the rotary embedding, made anew by the model
    if not tied:
        tensors["lm_head.weight"] = take(config.vocab_size, hidden)
    return tensors


def _by_halves(tensor: np.ndarray, heads: int) -> np.ndarray:
    """Rows [heads x (pairs x 2)] in the order [heads x (2 x pairs)]."""
    rows, columns = tensor.shape
    return tensor.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _pieces(data: bytes, size: int, path: Path) -> list[tuple[str, float]]:
    """(piece, score) by id, as SentencePiece writes them. The first three stand for unknown, begin and end."""
    pieces: list[tuple[str, float]] = []
    at = 4  # the length of the longest piece, which nobody needs
    try:
        while len(pieces) < size:
            score, length = struct.unpack_from("<fi", data, at)
            at += 8 + length
            pieces.append((data[at - length : at].decode("utf-8").replace(" ", SPACE), score))
    except (struct.error, UnicodeDecodeError):
        raise RequestError(f"{path} is no llama2.c vocabulary of {size} pieces: give its tok*.bin file.") from None
    names = [UNKNOWN, BEGIN, END]
    return [(name, score) for name, (_, score) in zip(names, pieces, strict=False)] + pieces[len(names) :]
