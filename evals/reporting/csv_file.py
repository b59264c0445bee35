"""A results document as CSV: one row a number, for spreadsheets and data frames."""

import csv
import io
import json

from evals.reporting.lineage import lineage
from evals.reporting.table import in_words
from evals.runs.results import Result

COLUMNS = (
    "model", "revision", "method", "sparsity", "baseline", "group", "task", "metric", "value", "unit", "stderr", "low",
    "high", "n", "verdict", "test", "p", "p_holm", "smallest_difference", "protocol",
)  # fmt: skip


def as_csv(document: dict) -> str:
    """The table with its header; numbers with all their digits, nothing where a number is not known."""
    known = lineage(document)
    revisions = {model["id"]: model["revision"] for model in document["models"]}
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(COLUMNS)
    for result in (Result.from_dict(entry) for entry in document["results"]):
        measurement, test, model = result.measurement, result.test, known[result.model]
        low, high = measurement.interval or (None, None)
        table.writerow(
            [
                result.model, revisions[result.model], model.method, model.sparsity, result.baseline, result.group,
                result.task, measurement.metric, measurement.value, measurement.unit, measurement.stderr, low, high,
                measurement.n, in_words(result) if result.baseline else None, test and test.name, test and test.p,
                test and test.p_holm, test and test.smallest_difference,
                json.dumps(measurement.protocol, ensure_ascii=False),
            ]
        )  # fmt: skip
    return written.getvalue()
