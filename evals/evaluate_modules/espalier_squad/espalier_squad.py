"""SQuAD's exact match and F1 as a module of Hugging Face evaluate.

`evals` must be importable: run from the project's folder, or have that folder on PYTHONPATH.
"""

import datasets
import evaluate

from evals.integrations.bridge import percent
from evals.judging import squad

DESCRIPTION = "Exact match and token F1 of short answers, in percent, as SQuAD v1.1 (v2.0 with no_answer) defines them."
INPUTS = """
predictions: dicts of `id` and `prediction_text`. references: dicts of `id` and `answers`, a dict of `text` (a list) and
`answer_start`. no_answer: True takes a question without answers as v2.0 does (right is the empty text).
Returns exact_match and f1 in 0..100, each with NAME_interval, its 95 % interval.
"""
CITATION = "Rajpurkar et al. 2016, SQuAD: 100,000+ Questions for Machine Comprehension of Text, section 6.1."


class EspalierSquad(evaluate.Metric):
    """Exact match and F1."""

    def _info(self):
        answers = datasets.Sequence({"text": datasets.Value("string"), "answer_start": datasets.Value("int32")})
        features = {
            "predictions": {"id": datasets.Value("string"), "prediction_text": datasets.Value("string")},
            "references": {"id": datasets.Value("string"), "answers": answers},
        }
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references, no_answer=False):
        written = {prediction["id"]: prediction["prediction_text"] for prediction in predictions}
        pairs = [(written.get(reference["id"], ""), reference["answers"]["text"]) for reference in references]
        found = {"exact_match": squad.exact_match, "f1": squad.token_f1}
        if no_answer:
            return percent(
                {name: [squad.with_no_answer(score, *pair) for pair in pairs] for name, score in found.items()}
            )
        return percent({name: [score(*pair) for pair in pairs] for name, score in found.items()})
