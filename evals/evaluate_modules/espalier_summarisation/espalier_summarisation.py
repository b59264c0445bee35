"""ROUGE for any language with its intervals as a module of Hugging Face evaluate.

`evals` must be importable: run from the project's folder, or have that folder on PYTHONPATH.
"""

import datasets
import evaluate

from evals.integrations.bridge import of_figures
from evals.judging import summaries
from evals.statistics.figures import Figure

DESCRIPTION = "ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (F-measures, 0..1), each with its interval; also for Chinese."
INPUTS = """
predictions: texts. references: for each a list of summaries, of which the best counts. language: `en` for
rouge_score's own tokenizer with Porter's stemmer, any other for words of every script, unstemmed.
Returns rouge1, rouge2, rougeL and rougeLsum in 0..1, each with NAME_interval, its 95 % interval.
"""
CITATION = "Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries."


class EspalierSummarisation(evaluate.Metric):
    """ROUGE."""

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

    def _compute(self, predictions, references, language="en"):
        found = [summaries.rouge(*pair, language) for pair in zip(predictions, references, strict=True)]
        return of_figures({Figure(name): [[scores[name]] for scores in found] for name in summaries.TYPES})
