"""The command `finetune`: a pretrained model learns the prompt formats. Imports nothing heavy until it runs."""

from dataclasses import replace
from pathlib import Path

from models.errors import RequestError
from models.storage.files import real_path
from training.mixture import EPOCHS, Mixture, read_epochs
from training.run_options import add_run_options, read_run_options
from training.tasks import tasks


def add_to(stages):
    """Adds the command to the stages of `python -m training`, and returns its parser."""
    finetune = stages.add_parser(
        "finetune",
        help="teach a pretrained model the prompt formats",
        epilog="Tasks: " + "; ".join(f"{task.name}: {task.summary}" for task in tasks().values()) + ".",
    )
    finetune.add_argument("model", type=Path, help="folder of the pretrained model")
    finetune.add_argument("--source", type=Path, required=True, help="folder of the source texts")
    finetune.add_argument(
        "--epochs",
        nargs="+",
        default=[],
        metavar="TASK=EPOCHS",
        help=f"passes over each task's examples (default {' '.join(f'{k}={v:g}' for k, v in EPOCHS.items())})",
    )
    share, weight = Mixture.pretraining_share, Mixture.prompt_weight
    finetune.add_argument(
        "--pretraining-share", type=float, default=share, help=f"share of old windows (default {share})"
    )
    finetune.add_argument(
        "--prompt-weight", type=float, default=weight, help=f"of a prompt token in the loss (default {weight})"
    )
    finetune.add_argument(
        "--search",
        type=int,
        default=0,
        metavar="TRIALS",
        help="first search learning rate and mixture in so many short runs, kept in OUT.search.db (default none)",
    )
    finetune.add_argument("--trial-tokens", type=float, default=3e5, help="tokens of a short run (default 3e5)")
    add_run_options(finetune, learning_rate=1.5e-3)
    finetune.set_defaults(run=run)
    return finetune


def run(options) -> None:
    """`finetune`, with the options parsed."""
    from accelerate import PartialState

    from models.console.progress import terminal_bar
    from training.checkpoint import kept, try_out
    from training.corpus import Corpus
    from training.finetune import finetune
    from training.identity import examples_digest, model_digest, run_identity
    from training.search import SEARCHED_EPOCHS, search

    mixture = Mixture(read_epochs(options.epochs), options.pretraining_share, options.prompt_weight)
    if options.search < 0 or options.trial_tokens < 1:
        raise RequestError("A search needs 1 trial or more, and a trial 1 token or more.")
    try_out(options.out)
    config, device = read_run_options(options, tokens=int(options.trial_tokens))  # the mixture decides the full run's
    corpus, facts, progress = Corpus(options.corpus), {}, terminal_bar()
    if options.search:
        place = real_path(options.out)
        study = place.with_name(f"{place.name}.search.db")
        names = {name for name, epochs in mixture.epochs.items() if epochs or name in SEARCHED_EPOCHS}
        made_of = run_identity(
            corpus, device, model=model_digest(options.model), examples=examples_digest(options.source, sorted(names))
        )
        with kept(study):
            choice, trials = search(
                options.model, corpus, options.source, study, config, mixture, options.search, device, progress, made_of
            )
        config, mixture = replace(config, learning_rate=choice.learning_rate), choice.mixture
        facts = {"search": trials}
        print(f"{study}: the best of {len(trials)} trials has a learning rate of {config.learning_rate:.3g}, {mixture}")
    record = finetune(options.model, corpus, options.source, options.out, config, mixture, device, progress, facts)
    if PartialState().is_main_process:
        print(f"{options.out}: loss {record.losses[-1][1]:.3f} nats a weighted token after {record.step} steps")
