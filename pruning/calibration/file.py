"""A text file of the user's own."""

from collections.abc import Iterator, Sequence

from models.storage.files import sha256
from models.storage.reading import is_there, user_path
from models.text.dialogues import Dialogue
from models.text.documents import SUFFIXES, file_documents
from pruning.calibration import Request, with_columns
from pruning.registry import register


@register("calibration", "FILE")
class File:
    """A file of yours: .txt, or .jsonl with a text, messages or a prompt and its response a line; either may be .gz."""

    even = False
    takes_columns = True

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` means a file: it exists, or looks like one."""
        return is_there(user_path(name)) or name.lower().endswith(SUFFIXES) or name.startswith((".", "/", "~"))

    @staticmethod
    def identity(name: str, columns: Sequence[str] | None = None) -> str:
        """SHA-256 of the file, in hex, and the columns. RequestError as for its first document."""
        path = user_path(name)
        next(file_documents(path, columns), None)
        return with_columns(sha256(path), columns)

    def documents(self, request: Request) -> Iterator[str | Dialogue]:
        """The documents. RequestError if the file is missing, damaged, or not what `models.text.documents` reads."""
        return file_documents(user_path(request.name), request.columns)
