"""What a run of training depends on besides its options: by it what is left of a killed run is known."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from random import Random

import numpy as np

from models.description import content_hash
from models.source import locate
from models.storage.contents import files_read
from training.corpus import Corpus
from training.mixture import Mixture, mixed_examples

LIBRARIES = ("torch", "transformers", "tokenizers")


def run_identity(corpus: Corpus, device: str, **facts: object) -> dict:
    """The corpus, the kind of device and the libraries, with other facts of the run, as JSON types."""
    return {
        "corpus": corpus_digest(corpus),
        "device": device,
        "libraries": {name: version(name) for name in LIBRARIES},
    } | json.loads(json.dumps(facts))


def corpus_digest(corpus: Corpus) -> str:
    """SHA-256 over the manifest, which holds the hashes of the tokens, and the tokenizer; 16 hex digits of it."""
    told = json.dumps(corpus.manifest, sort_keys=True), corpus.tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def model_digest(folder: Path) -> str:
    """The identity of the model in a folder, over all files that loading reads."""
    return content_hash(files_read(locate(str(folder))))


def windows_digest(windows: Iterable) -> str:
    """SHA-256 over training windows (ids and weights), in their order; 16 hex digits of it."""
    digest = hashlib.sha256()
    for ids, weights in windows:
        digest.update(np.asarray(ids, np.int64).tobytes() + np.asarray(weights, np.float32).tobytes())
    return digest.hexdigest()[:16]


def examples_digest(root: Path, names: Iterable[str]) -> str:
    """SHA-256 over the examples of tasks, made once each from the files below `root`; 16 hex digits of it."""
    digest = hashlib.sha256()
    for drawn in mixed_examples(Mixture(dict.fromkeys(names, 1.0)), root, Random(0)):
        digest.update(repr(drawn).encode())
    return digest.hexdigest()[:16]
