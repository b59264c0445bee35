"""A data set of the Hugging Face Hub."""

from collections.abc import Iterator, Sequence

from models.text.dialogues import Dialogue
from models.text.documents import hub_documents, is_hub_name
from pruning.calibration import Request
from pruning.registry import register

SPLITS = ("train", "validation", "test")


@register("calibration", "HUB_DATASET")
class HubDataset:
    """A Hub data set, owner/name[@revision][:config[:split]], with columns as a .jsonl; read as a shuffled stream."""

    even = False
    takes_columns = True

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` has the form of one."""
        return "/" in name and is_hub_name(name)

    @staticmethod
    def identity(name: str, columns: Sequence[str] | None = None) -> None:
        """None: the name has the revision where one is meant, and what the Hub has today is not known from here."""

    def documents(self, request: Request) -> Iterator[str | Dialogue]:
        """The texts, shuffled by the seed within a buffer. Errors as in `models.text.documents.hub_documents`."""
        return hub_documents(request.name, SPLITS, seed=request.seed, columns=request.columns)[1]
