"""What a metric is given to work with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.asking.cache import Cache
from evals.asking.request_client import RequestClient
from evals.model_pool import ModelPool
from evals.rows.samples import Sample
from evals.task import Task
from evals.text_losses.data import Text
from models.console.progress import Progress

QUICK_ROWS = 100


@dataclass
class Trial:
    """One metric's share of a run: the models, the text, how thorough to be, and where to report.

    `quick` asks for fewer samples of the same quantities. `notes` collects sentences for the reader of the report,
    `samples` what every model answered, by model and task, and `contexts_cut` of how many `rows` how many `tokens` were
    cut off. `options` are those of the command line that only some metrics use (`protocol`, `length`, `stride`);
    `source` is the folder of the public data sets.
    """

    pool: ModelPool
    text: Text
    quick: bool
    seed: int
    progress: Progress
    notes: list[str] = field(default_factory=list)
    chosen: Sequence[Task] = ()
    source: Path | None = None
    limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    answers: Cache | None = None
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    contexts_cut: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    def tasks(self, metric: str) -> list[Task]:
        """The tasks of the run that this metric measures."""
        return [task for task in self.chosen if task.metric == metric]

    def most(self, task: Task) -> int | None:
        """How many rows of a task are measured; None for all that it has."""
        return self.limit or (QUICK_ROWS if self.quick else None)

    def client(self, name: str) -> RequestClient:
        """The model of that name as that which answers requests; its weights are loaded when they are needed."""
        return self.pool.client(name, self.answers)
