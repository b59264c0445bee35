"""Perplexity under a named protocol, with its interval, as a module of Hugging Face evaluate.

`evals` must be importable: run from the project's folder, or have that folder on PYTHONPATH.
"""

import datasets
import evaluate

from evals.integrations.bridge import with_intervals
from evals.text_losses.data import JOINT, Text
from evals.text_losses.perplexity import perplexity
from models import load

DESCRIPTION = "Perplexity and bits per byte of texts, under a named protocol (gptq, hf-stride, lm-eval, evaluate)."
INPUTS = """
predictions: texts; a protocol of one text joins them by blank lines. model: `embedded`, a folder or a Hub id, or a
model that `models.load` gave, which several computations then share. protocol, length, stride, bos, device, dtype: as
in `python -m evals run`.
Returns the protocol's figures, each with NAME_interval, its 95 % interval, and `protocol`, what they were taken under.
"""
CITATION = "Jelinek et al. 1977, Perplexity: a measure of the difficulty of speech recognition tasks."


class EspalierPerplexity(evaluate.Metric):
    """Perplexity of a model on texts."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(
        self, predictions, model, protocol="gptq", length=None, stride=None, device="auto", dtype="auto", bos=None
    ):
        loaded = load(model, device, dtype) if isinstance(model, str) else model
        text = Text("predictions", JOINT.join(predictions), documents=tuple(predictions))
        found = perplexity(loaded, text, protocol, length, stride=stride, bos=bos)
        return with_intervals(found) | {"protocol": found[0].protocol}
