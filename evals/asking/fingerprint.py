"""What makes two models the same to the cache: weights, configuration, tokenizer, dtype, device and libraries."""

import hashlib
from importlib.metadata import version
from pathlib import Path

from models.files import sha256
from models.weights import weight_files

LIBRARIES = ("torch", "transformers", "tokenizers")  # another version may round, or cut a text, otherwise
NOT_OF_THE_MODEL = {"pruning.json", "training.json"}  # records of its making


def fingerprint(folder: Path, name: str, dtype: str, device: str) -> str:
    """SHA-256, in hex, over the weights and every small file that loading reads, dtype, device kind and libraries.

    The files are read whole: a changed weight is seen even where neither name, size nor time changed.
    """
    small = (*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.model"), *folder.glob("*.jinja"))
    files = sorted({*weight_files(folder, name), *(file for file in small if file.name not in NOT_OF_THE_MODEL)})
    facts = [f"{file.name} {sha256(file)}" for file in files]
    facts += [f"{library} {version(library)}" for library in LIBRARIES]
    return hashlib.sha256("\n".join([*facts, dtype, device]).encode()).hexdigest()
