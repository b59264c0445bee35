"""A data set of the Hugging Face Hub."""

import re
from collections.abc import Iterator

from models.errors import EspalierError, RequestError
from pruning.calibration import Request
from pruning.registry import register

NAME = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?")


@register("calibration", "HUB_DATASET")
class HubDataset:
    """A Hub data set with a "text" column, owner/name[:config][@revision]; read as a stream, its train split.

    Needs the library `datasets` and a network.
    """

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` has the form of one."""
        return NAME.fullmatch(name) is not None

    def documents(self, request: Request) -> Iterator[str]:
        """The texts, shuffled by the seed within a buffer. RequestError if it is missing or has no such column."""
        try:
            import datasets
        except ImportError:
            raise RequestError(
                f"Calibrating on {request.name} needs the library datasets: pip install datasets, "
                "or use --calibration embedded, self or a file."
            ) from None
        name = NAME.fullmatch(request.name)
        try:
            rows = datasets.load_dataset(
                name["repo"], name["config"], revision=name["revision"], split="train", streaming=True
            )
            for row in rows.shuffle(seed=request.seed, buffer_size=1000):
                if not isinstance(row.get("text"), str):
                    columns = ", ".join(row)
                    raise RequestError(f'{request.name} has no column "text" (it has {columns}): use another data set.')
                yield row["text"]
        except EspalierError:
            raise
        except Exception as error:  # datasets, huggingface_hub and the network raise a dozen kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise RequestError(
                f"The data set {request.name} could not be read ({reason}): check its name and the network, "
                "or use --calibration embedded, self or a file."
            ) from error
