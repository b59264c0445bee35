"""The figures of a scored text: each is a mean loss, over tokens, bytes, words or texts, in nats or as a perplexity."""

from dataclasses import dataclass
from math import exp, log

import numpy as np

from evals import statistics
from evals.measurement import Measurement
from evals.statistics import Estimate
from evals.statistics.blocks import FEWEST, block_length
from evals.text_losses.scored import Scored, samples, texts
from models.errors import EspalierError

LARGEST_LOG = 700.0  # nats; exp of little more is not a finite float
SEED = 0


@dataclass(frozen=True)
class Pooled:
    """The sum of all losses over the sum of a `unit` of the text, times `scale`, or the exponential of that.

    The interval is that of `block_ratio`, over documents, windows or pieces of them, and for an exponential has its
    ends.
    """

    metric: str
    over: str
    unit: str = ""
    scale: float = 1.0
    exponential: bool = False

    def measure(self, scored: Scored) -> Measurement:
        """The figure of one model."""
        nats, size, parts = samples(scored, self.over)
        return self._measured(self.metric, self.unit, nats, size, parts, scored)

    def compare(self, first: Scored, second: Scored) -> Measurement:
        """Second less first (`_difference`), or second over first for an exponential (`_ratio`), paired by part."""
        (nats, size, parts), (other, _, _) = samples(first, self.over), samples(second, self.over)
        kind, unit = ("ratio", "times") if self.exponential else ("difference", self.unit)
        return self._measured(f"{self.metric}_{kind}", unit, other - nats, size, parts, first)

    def _measured(
        self, metric: str, unit: str, nats: np.ndarray, size: np.ndarray, parts: str, scored: Scored
    ) -> Measurement:
        found = statistics.block_ratio(nats, size, SEED)
        found = exponential(found) if self.exponential else scaled(found, self.scale)
        return _measurement(metric, unit, found, parts, scored)


@dataclass(frozen=True)
class MeanOfTexts:
    """The arithmetic mean of the texts' own perplexities; of one text, its perplexity."""

    metric: str

    def measure(self, scored: Scored) -> Measurement:
        """The figure of one model."""
        found = np.exp(_bounded(texts(scored)))
        if len(found) == 1:
            return Pooled(self.metric, "tokens", exponential=True).measure(scored)
        estimate = statistics.block_ratio(found, np.ones(len(found)), SEED, logarithmic=True)
        return _measurement(self.metric, "", estimate, "documents", scored)

    def compare(self, first: Scored, second: Scored) -> Measurement:
        """The second model's mean over the first's, paired by text."""
        found, other = (np.exp(_bounded(texts(scored))) for scored in (first, second))
        if len(found) == 1:
            return Pooled(self.metric, "tokens", exponential=True).compare(first, second)
        estimate = statistics.block_ratio(other, found, SEED, logarithmic=True)
        return _measurement(f"{self.metric}_ratio", "times", estimate, "documents", first)


PERPLEXITY = Pooled("perplexity", "tokens", exponential=True)
WORD_PERPLEXITY = Pooled("word_perplexity", "words", exponential=True)
BYTE_PERPLEXITY = Pooled("byte_perplexity", "bytes", exponential=True)
BITS_PER_BYTE = Pooled("bits_per_byte", "bytes", "bits/byte", 1 / log(2))
NLL = Pooled("nll", "tokens", "nats/token")
MEAN_PERPLEXITY = MeanOfTexts("mean_perplexity")


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in another unit."""
    value, stderr, interval, n = estimate
    if stderr is None or interval is None:
        return Estimate(value * factor, None, None, n)
    return Estimate(value * factor, stderr * factor, (interval[0] * factor, interval[1] * factor), n)


def exponential(logarithm: Estimate) -> Estimate:
    """The exponential of an estimate, and of the ends of its interval. EspalierError where it is no finite number."""
    value = float(np.exp(_bounded(np.asarray(logarithm.value))))
    if logarithm.stderr is None or logarithm.interval is None:
        return Estimate(value, None, None, logarithm.n)
    low, high = logarithm.interval
    return Estimate(value, value * logarithm.stderr, (exp(low), exp(min(high, LARGEST_LOG))), logarithm.n)


def _bounded(logarithms: np.ndarray) -> np.ndarray:
    if (np.abs(logarithms) > LARGEST_LOG).any():
        raise EspalierError("The perplexity is beyond any number: the weights are damaged, or the dtype is too narrow.")
    return logarithms


def _measurement(metric: str, unit: str, found: Estimate, parts: str, scored: Scored) -> Measurement:
    blocks = f" in blocks of {block_length(found.n)}" if found.n >= FEWEST else ""
    protocol = scored.protocol | {"interval_over": f"{found.n} {parts}{blocks}"}
    return Measurement(metric, found.value, unit, found.interval, found.stderr, len(scored.losses), protocol)
