"""Corpus BLEU and chrF with their intervals and sacrebleu's signatures as a module of Hugging Face evaluate.

`evals` must be importable: run from the project's folder, or have that folder on PYTHONPATH.
"""

import datasets
import evaluate

from evals.integrations.bridge import of_figures
from evals.judging import translation

DESCRIPTION = "Corpus BLEU and chrF as sacrebleu computes them, each with its bootstrap interval over sentences."
INPUTS = """
predictions: texts. references: for each a list of right translations, as many for all. language: the one translated
into, `zh` or any other. Returns bleu and chrf in 0..100, each with NAME_interval,
its 95 % interval, and NAME_signature.
"""
CITATION = "Post 2018, A Call for Clarity in Reporting BLEU Scores; Popovic 2015, chrF."


class EspalierTranslation(evaluate.Metric):
    """BLEU and chrF."""

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
        pairs = list(zip(predictions, references, strict=True))
        figures = {
            translation.BLEU: [translation.bleu_statistics(*pair, language) for pair in pairs],
            translation.CHRF: [translation.chrf_statistics(*pair) for pair in pairs],
        }
        signatures = translation.signatures(language, [len(wanted) for wanted in references])
        return of_figures(figures) | {f"{name}_signature": told for name, told in signatures.items()}
