"""GGUF files: what one holds, and its dequantised copy as an ordinary model folder in the user's cache.

As a program, `python -m models.formats.gguf FILE FOLDER SOURCE` makes that folder: in a process of its own, so that the memory
is given back and a cancelled run can be ended at once.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.console.out_of_memory import ran_out
from models.errors import EspalierError, RequestError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ORIGIN = "espalier_origin.json"  # beside the weights: where they came from
FORM = 2  # of a copy: raised when something else is saved, so that older copies are made again
MAGIC = b"GGUF"
FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
SPLIT = "-of-"
BYTE_LEVEL = "gpt2"  # GGUF's word for such a tokenizer, of whatever model
SPECIAL = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}  # GGUF's words, ours


@dataclass(frozen=True)
class Contents:
    """What a GGUF file holds: the architecture by its own name, elements, and the kind most weights are stored in."""

    architecture: str
    parameters: int
    kind: str

    @property
    def dtype(self) -> str:
        """The dtype of the dequantised copy: the file's own for floats, bfloat16 for what was quantised."""
        return FLOATS.get(self.kind, "bfloat16")


def read_contents(file: Path) -> Contents:
    """Reads the header of a GGUF file. RequestError in one line if it is none, cut off, or one part of several."""
    with open(file, "rb") as stream:
        if stream.read(4) != MAGIC:
            raise RequestError(f"{file} is not a GGUF file: fetch it again.")
    try:
        from gguf import GGUFReader
    except ImportError:
        raise RequestError("Reading GGUF files needs the package gguf: pip install -r requirements.txt.") from None
    try:
        reader = GGUFReader(str(file))
        architecture = reader.fields["general.architecture"].contents()
        split = reader.fields.get("split.count")
        kinds: dict[str, int] = {}
        for tensor in reader.tensors:
            kinds[tensor.tensor_type.name] = kinds.get(tensor.tensor_type.name, 0) + int(tensor.n_elements)
    except Exception as error:  # numpy's, struct's and its own: the file ends too soon, or holds something else
        raise RequestError(f"{file} is damaged or cut off ({first_line(error)}): fetch it again.") from None
    if split is not None and int(split.contents()) > 1:
        raise RequestError(f"{file} is one part of several: join them first (llama-gguf-split --merge).")
    if not kinds:
        raise RequestError(f"{file} holds no weights: give the file of the model itself.")
    return Contents(str(architecture), sum(kinds.values()), max(kinds, key=kinds.__getitem__))


def convert(file: Path, folder: Path, source: str) -> None:
    """Dequantises a GGUF file and saves model and tokenizer into `folder`, which exists. `source` is kept in ORIGIN.

    Raises RequestError where transformers does not know the architecture, EspalierError where it fails.
    """
    contents = read_contents(file)
    import torch
    import transformers

    from models.console.quiet import quiet_transformers

    # From 5.24 the weights would stay packed, and could not be saved; before, there was no such choice.
    settings = getattr(transformers, "GgufConfig", None)
    options = {"quantization_config": settings(dequantize=True)} if settings else {}
    try:
        with quiet_transformers():
            model = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=getattr(torch, contents.dtype),
                trust_remote_code=False,
                **options,
            )
            tokenizer = _tokenizer(file)
    except (ValueError, NotImplementedError, KeyError) as error:
        raise RequestError(
            f"{file.name} is of the family {contents.architecture}, which transformers {transformers.__version__} cannot "
            f"dequantise ({first_line(error)}): give the original model with its safetensors."
        ) from error
    with quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    origin = asdict(contents) | {"source": source, "file": file.name, "dtype": contents.dtype, "form": FORM}
    (folder / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


def _tokenizer(file: Path) -> "PreTrainedTokenizerBase":
    # transformers 5.0 takes the tokenizer of any Llama for CodeLlama's, with tokens of its own that the model has no
    # embeddings for; it takes the first special token for the one that ends a text, and loses spaces in decoding.
    from gguf import GGUFReader
    from tokenizers.decoders import ByteLevel
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    fields = GGUFReader(str(file)).fields
    for word, name in SPECIAL.items():
        if number := fields.get(f"tokenizer.ggml.{word}_token_id"):
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(int(number.contents())))
    if (kind := fields.get("tokenizer.ggml.model")) and kind.contents() == BYTE_LEVEL:
        tokenizer.backend_tokenizer.decoder = ByteLevel()
        tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def is_copy(folder: Path) -> bool:
    """Whether a folder is a dequantised copy as this version makes it."""
    return origin(folder).get("form") == FORM


def is_outdated(folder: Path) -> bool:
    """Whether a folder is a dequantised copy that an earlier version made, with other contents."""
    return bool(origin(folder)) and not is_copy(folder)


def origin(folder: Path) -> dict:
    """What a dequantised copy keeps of where it came from; empty for any other folder."""
    file = folder / ORIGIN
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def origin_note(folder: Path) -> str | None:
    """Where the weights of a folder that was dequantised come from, in one sentence; None for any other folder."""
    if not (told := origin(folder)):
        return None
    return (
        f"The weights were dequantised from {told['file']} ({told['kind']}, {told['source']}): "
        "their figures are not those of the original model."
    )


def main() -> int:
    """Converts; says in one line why it could not."""
    file, folder, source = sys.argv[1:]
    if hasattr(os, "nice"):
        os.nice(5)  # the page, which may be in use meanwhile, goes first
    try:
        convert(Path(file), Path(folder), source)
    except EspalierError as error:
        print(f"\n{error}")
        return error.exit_code
    except Exception as error:
        if ran_out(error):
            print("\nOut of memory while dequantising: close other programs, or take a smaller model.")
            return 1
        print(f"\n{Path(file).name} could not be dequantised: {first_line(error)}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
