"""Speed of generation, each contender in turns with the baseline."""

from collections.abc import Iterator

from evals.data import embedded
from evals.registry import metric
from evals.results import Result
from evals.speed import race
from evals.trial import Trial
from models.progress import part

PROMPT_TOKENS, NEW_TOKENS = 128, 64
REPEATS, QUICK_REPEATS = 10, 5


@metric(models_at_once=2)
def speed(trial: Trial) -> Iterator[Result]:
    """Time to first token, time per token, prefill and decode rates, runs interleaved with the first model's.

    Only the baseline and one contender are in memory at a time. With several contenders the baseline is timed anew
    beside each, and every ratio is of one race; the baseline's own rows are those of the first.
    """
    contenders = trial.contenders
    baseline = contenders.baseline
    pairs = [[baseline, name] for name in contenders.others] or [[baseline]]
    context = min(contenders.record(name)["context"] for name in contenders.names)
    new_tokens = max(2, min(NEW_TOKENS, context // 3))
    prompt_tokens = max(1, min(PROMPT_TOKENS, context - new_tokens))
    for at, pair in enumerate(pairs):
        result = race(
            [(name, loaded.model, loaded.tokenizer) for name, loaded in zip(pair, contenders.hold(*pair), strict=True)],
            embedded().content,
            new_tokens=new_tokens,
            repeats=QUICK_REPEATS if trial.quick else REPEATS,
            prompt_tokens=prompt_tokens,
            progress=part(trial.progress, at / len(pairs), (at + 1) / len(pairs)),
            seed=trial.seed,
        )
        for lane in result.lanes if at == 0 else result.lanes[1:]:
            yield from (Result(lane.name, "speed", measurement) for measurement in lane.measurements)
            yield from (Result(lane.name, "speed", ratio, baseline) for ratio in lane.speedups.values())
