"""CMRC 2018's exact match and F1, for answers in Chinese, as a module of Hugging Face evaluate.

`evals` must be importable: run from the project's folder, or have that folder on PYTHONPATH.
"""

import datasets
import evaluate

from evals.integrations.bridge import percent
from evals.judging import cmrc

DESCRIPTION = "Exact match and F1 of short Chinese answers, in percent, as CMRC 2018 defines them."
INPUTS = """
predictions: texts. references: for each a list of right answers.
Returns exact_match and f1 in 0..100, each with NAME_interval, its 95 % interval.
"""
CITATION = "Cui et al. 2019, A Span-Extraction Dataset for Chinese Machine Reading Comprehension."


class EspalierCmrc(evaluate.Metric):
    """Exact match and F1."""

    def _info(self):
        features = {
            "predictions": datasets.Value("string"),
            "references": datasets.Sequence(datasets.Value("string")),
        }
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references):
        pairs = list(zip(predictions, references, strict=True))
        scores = {"exact_match": cmrc.exact_match, "f1": cmrc.run_f1}
        return percent({name: [score(*pair) for pair in pairs] for name, score in scores.items()})
