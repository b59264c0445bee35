"""Hyper-parameters of fine-tuning, searched on short runs by Optuna's tree-structured Parzen estimator.

A trial fine-tunes the pretrained model on a random part of its mixture, and is judged by the sum of three losses on
examples that no trial trains on: nats per label of the reviews, nats per token of the answers to questions, and nats
per token of pretraining text, so that neither task nor language is bought with the other. The trials are stored in
SQLite as they end: a search that was killed goes on with the next one. A short run favours a higher learning rate than
a long one; compare trials with each other, not with a full run.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from accelerate import PartialState

from models.console.differences import differences
from models.console.progress import Progress, part, silent
from models.errors import RequestError
from models.storage.destination import try_files
from models.storage.disk import explained
from training.corpus import Corpus
from training.finetune import load_pretrained, mixed_windows
from training.held_out import is_held_out
from training.loop import TrainingConfig, train
from training.mixture import Mixture, mixed_examples
from training.packing import Encoded, encode_example
from training.pretrain import whole_windows
from training.tasks import Task
from training.validation import example_losses

if TYPE_CHECKING:
    import optuna
    from transformers import PreTrainedModel

VALIDATION = 8  # one article or sentence in so many of the training part is judged on
VALIDATION_EXAMPLES = 256  # of a task, and windows of pretraining text
JUDGED = ("reviews", "questions")
SEARCHED_EPOCHS = {"reviews": (0.5, 6.0), "questions": (0.5, 6.0), "cloze": (0.0, 3.0)}


@dataclass(frozen=True)
class Choice:
    """What a search decides: the peak learning rate and the mixture."""

    learning_rate: float
    mixture: Mixture


def search(
    pretrained: Path,
    corpus: Corpus,
    root: Path,
    study_file: Path,
    config: TrainingConfig,
    start: Mixture,
    trials: int,
    device: str = "cpu",
    progress: Progress | None = None,
    identity: dict | None = None,
) -> tuple[Choice, list[dict]]:
    """The best of `trials` finished trials of `config.tokens` each, and the record of all.

    `identity` is what the trials depend on besides (JSON types). The first trial is `config.learning_rate` and `start`, so that the choice is never worse than they are. Raises
    RequestError if `study_file` holds a search under other settings, Optuna is not installed, or several processes run.
    """
    if PartialState().num_processes > 1:
        raise RequestError("A search runs in one process: search first, then fine-tune in many with what it chose.")
    progress = progress or silent
    judge = Judge(root, corpus, config)

    def run(choice: Choice, report: Progress) -> dict[str, float]:
        model = load_pretrained(pretrained, device)
        settings = replace(config, learning_rate=choice.learning_rate)
        most = max(config.tokens // config.step_tokens, 1) * config.step_windows
        windows, _ = mixed_windows(root, corpus, settings, choice.mixture, keep=not_judged, most=most)
        train(model, cycle(windows), settings, progress=report)  # a small mixture is seen again
        return judge(model)

    settings = {"model": str(pretrained), "options": asdict(config), "mixture": asdict(start)}
    settings |= {"run": identity} if identity else {}
    with explained(study_file), _study(study_file, settings) as study:
        if not study.trials:
            study.enqueue_trial(_values(Choice(config.learning_rate, start)))
        for number in range(len(_finished(study)), trials):
            progress(number / trials, f"trial {number + 1} of {trials}")
            _one_trial(study, config.seed + number, start, run, part(progress, number / trials, (number + 1) / trials))
        best = min(_finished(study), key=lambda trial: trial.value)
        return _choice(best.params, start), [
            {"values": trial.params, "losses": trial.user_attrs["losses"], "sum": trial.value}
            for trial in _finished(study)
        ]


class Judge:
    """The validation losses of a model: `judge(model)` gives nats by task, and of pretraining text as `text`."""

    def __init__(self, root: Path, corpus: Corpus, config: TrainingConfig):
        mixture = Mixture(dict.fromkeys(JUDGED, 1.0), prompt_weight=0.0)
        self.length = config.length
        self.examples: dict[str, list[Encoded]] = {name: [] for name in JUDGED}
        for name, example in mixed_examples(mixture, root, random.Random(config.seed), keep=judged):
            if len(self.examples[name]) < VALIDATION_EXAMPLES:
                self.examples[name].append(encode_example(example, corpus.tokenizer, prompt_weight=0.0))
        if empty := [name for name, examples in self.examples.items() if not examples]:
            raise RequestError(f"There are too few {empty[0]} to judge a trial by: fine-tune without --search.")
        stream = whole_windows(corpus, replace(config, seed=config.seed + 2))
        windows = [next(stream)[0].tolist() for _ in range(VALIDATION_EXAMPLES // 4)]
        self.examples["text"] = [(ids, [1.0] * len(ids)) for ids in windows]

    def __call__(self, model: PreTrainedModel) -> dict[str, float]:
        return {
            name: float(example_losses(model, examples, self.length).sum() / self._units(name, examples))
            for name, examples in self.examples.items()
        }

    def _units(self, name: str, examples: list[Encoded]) -> float:
        if name == "reviews":  # one label each, however many tokens its word has
            return len(examples)
        return sum(sum(weights[1 : self.length + 1]) for _, weights in examples)


def judged(task: Task, key: str) -> bool:
    """Whether an example is one that trials are judged by."""
    return task.validated and is_held_out(f"validation {key}", VALIDATION)


def not_judged(task: Task, key: str) -> bool:
    """Whether an example is one that trials are trained on."""
    return not judged(task, key)


def _one_trial(
    study: optuna.Study,
    seed: int,
    start: Mixture,
    run: Callable[[Choice, Progress], dict[str, float]],
    progress: Progress,
) -> None:
    import optuna

    # Seeded by its number, so that a search that was killed draws what an unbroken one would have drawn.
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    trial = study.ask()
    trial.suggest_float("learning_rate", 2e-4, 8e-3, log=True)
    trial.suggest_float("pretraining_share", 0.05, 0.6)
    trial.suggest_float("prompt_weight", 0.0, 0.5)
    for name, (low, high) in SEARCHED_EPOCHS.items():
        trial.suggest_float(f"epochs_{name}", low, high)
    losses = run(_choice(trial.params, start), progress)
    trial.set_user_attr("losses", losses)
    study.tell(trial, float(np.sum(list(losses.values()))))


def _choice(values: dict[str, float], start: Mixture) -> Choice:
    searched = {name: values[f"epochs_{name}"] for name in SEARCHED_EPOCHS}
    mixture = Mixture({**start.epochs, **searched}, values["pretraining_share"], values["prompt_weight"])
    return Choice(values["learning_rate"], mixture)


def _values(choice: Choice) -> dict[str, float]:
    epochs = {f"epochs_{name}": choice.mixture.epochs.get(name, 0.0) for name in SEARCHED_EPOCHS}
    mixture = choice.mixture
    return {
        "learning_rate": choice.learning_rate,
        "pretraining_share": mixture.pretraining_share,
        "prompt_weight": mixture.prompt_weight,
        **epochs,
    }


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    import optuna

    return study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))


@contextmanager
def _study(file: Path, settings: dict):
    try:
        import optuna
    except ImportError:
        raise RequestError("A search needs Optuna: pip install -r requirements-training.txt.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try_files(file.parent, file.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(study_name="finetune", storage=f"sqlite:///{file}", load_if_exists=True)
    if others := differences(study.user_attrs.get("settings", settings), settings):
        raise RequestError(
            f"{file} holds a search under other options or data ({others}): remove it, or use the same ones."
        )
    study.set_user_attr("settings", settings)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):  # its process was killed
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    yield study
