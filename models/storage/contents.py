"""Which files of a model loading reads: what a fingerprint must cover, and what must be readable before any work."""

from pathlib import Path

from models.formats.adapters import WEIGHTS
from models.source import ModelSource
from models.storage.reading import is_there
from models.storage.weights import weight_files

SMALL = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*_chat_templates/*.jinja")
NOT_OF_THE_MODEL = {"pruning.json", "training.json"}  # records of its making


def small_files(folder: Path) -> list[Path]:
    """The configuration and tokenizer files of a folder, by name; links that lead nowhere are among them."""
    found = {file for pattern in SMALL for file in folder.glob(pattern) if not file.is_dir()}
    return sorted(file for file in found if file.name not in NOT_OF_THE_MODEL)


def files_read(source: ModelSource) -> list[Path]:
    """Every file that loading a model reads, weights included: of the base first, then of the adapter, if any.

    Raises RequestError as `models.storage.weights.weight_files` does.
    """
    files = sorted({*small_files(source.folder), *weight_files(source.folder, source.id)})
    return list(dict.fromkeys([*files, *adapter_files(source)]))


def adapter_files(source: ModelSource) -> list[Path]:
    """The files of a model's adapter, its tokenizer's included if it brought one; none if it has no adapter."""
    return [] if source.adapter is None else [*small_files(source.adapter), source.adapter / WEIGHTS]


def has_any(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether any file of these names is in a folder, a link that leads nowhere included."""
    return any(is_there(folder / name) for name in names)
