"""What makes two models the same to the cache: weights, configuration, tokenizer, dtype, device and libraries."""

import hashlib
from importlib.metadata import version

from models.source import ModelSource
from models.storage.contents import files_read
from models.storage.files import sha256

LIBRARIES = ("torch", "transformers", "tokenizers")  # another version may round, or cut a text, otherwise


def fingerprint(source: ModelSource, dtype: str, device: str) -> str:
    """SHA-256, in hex, over every file that loading reads (of an adapter too), dtype, device kind and libraries.

    The files are read whole: a changed weight is seen even where neither name, size nor time changed.
    """
    facts = [f"{file.name} {sha256(file)}" for file in files_read(source)]
    libraries = LIBRARIES if source.adapter is None else (*LIBRARIES, "peft")
    facts += [f"{library} {version(library)}" for library in libraries]
    return hashlib.sha256("\n".join([*facts, dtype, device]).encode()).hexdigest()
