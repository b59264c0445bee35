"""What a metric is given to work with."""

from dataclasses import dataclass, field

from evals.contenders import Contenders
from evals.data import Text
from models.progress import Progress


@dataclass
class Trial:
    """One metric's share of a run: the models, the text, how thorough to be, and where to report.

    `quick` asks for fewer samples of the same quantities. `notes` collects sentences for the reader of the report.
    """

    contenders: Contenders
    text: Text
    quick: bool
    seed: int
    progress: Progress
    notes: list[str] = field(default_factory=list)
