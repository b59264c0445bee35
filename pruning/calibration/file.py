"""A text file of the user's own."""

from collections.abc import Iterator

from models.documents import SUFFIXES, file_documents
from models.files import sha256
from models.reading import is_there, user_path
from pruning.calibration import Request
from pruning.registry import register


@register("calibration", "FILE")
class File:
    """A file of yours: .txt, or .jsonl with a "text" field on every line; either may be .gz."""

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` means a file: it exists, or looks like one."""
        return is_there(user_path(name)) or name.lower().endswith(SUFFIXES) or name.startswith((".", "/", "~"))

    @staticmethod
    def identity(name: str) -> str:
        """SHA-256 of the file, in hex. RequestError if it is missing, of another kind, or its beginning is damaged."""
        path = user_path(name)
        next(file_documents(path), None)
        return sha256(path)

    def documents(self, request: Request) -> Iterator[str]:
        """The documents. RequestError if the file is missing, of another kind, damaged or not UTF-8."""
        return file_documents(user_path(request.name))
