"""Accuracy, precision, recall, F1 and MCC with their intervals as a module of Hugging Face evaluate.

`evals` must be importable: run from the project's folder, or have that folder on PYTHONPATH.
"""

import datasets
import evaluate

from evals.integrations.bridge import with_intervals
from evals.judging.classification import classification

DESCRIPTION = (
    "Accuracy, MCC, precision, recall and F1, by class and as their plain mean (macro), each with its interval."
)
INPUTS = """
predictions, references: numbers of classes, 0 or more. labels: the classes' names (default: their numbers).
Returns accuracy, mcc, macro_precision, macro_recall, macro_f1, and precision[LABEL] and so on, each with NAME_interval,
its 95 % interval. A quotient whose denominator is 0 is 0.
"""
CITATION = "Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient (MCC)."


class EspalierClassification(evaluate.Metric):
    """What a confusion matrix tells."""

    def _info(self):
        features = {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references, labels=None):
        names = labels or [str(number) for number in range(1 + max(*predictions, *references))]
        return with_intervals(classification(references, predictions, names))
