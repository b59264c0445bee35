"""Perplexity and bits per byte of the text, and each contender's paired ratio to the baseline."""

from collections.abc import Iterator

from evals.overlap import overlap_note
from evals.perplexity import ProtocolMismatch, Scored, compare, score, summarise
from evals.registry import metric
from evals.results import Result
from evals.trial import Trial
from models.progress import part

QUICK_WINDOWS = 16


@metric()
def perplexity(trial: Trial) -> Iterator[Result]:
    """Perplexity (protocol gptq) and bits per byte, with the paired ratio to the first model.

    The models are loaded one after the other; only their losses are kept.
    """
    names = trial.contenders.names
    most = QUICK_WINDOWS if trial.quick else None
    scored: dict[str, Scored] = {}
    for at, name in enumerate(names):
        (loaded,) = trial.contenders.hold(name)
        if note := overlap_note(name, trial.contenders.folder(name), loaded.tokenizer, trial.text):
            trial.notes.append(note)
        share = part(trial.progress, at / len(names), (at + 1) / len(names))
        scored[name] = score(loaded, trial.text, most=most, progress=share)
        yield from (Result(name, "perplexity", measurement) for measurement in summarise(scored[name]))
    baseline = trial.contenders.baseline
    for name in trial.contenders.others:
        try:
            compared = compare(scored[baseline], scored[name])
        except ProtocolMismatch as mismatch:
            trial.notes.append(f"{name} against {baseline}: {mismatch} Bits per byte compare across tokenizers.")
            continue
        yield from (Result(name, "perplexity", measurement, baseline) for measurement in compared)
