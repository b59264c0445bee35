"""The command `finetune`: a pretrained model learns the prompt formats. Imports nothing heavy until it runs."""

from pathlib import Path

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
    add_run_options(finetune, learning_rate=1.5e-3)
    finetune.set_defaults(run=run)
    return finetune


def run(options) -> None:
    """`finetune`, with the options parsed."""
    from models.progress import terminal_bar
    from training.corpus import Corpus
    from training.finetune import finetune

    mixture = Mixture(read_epochs(options.epochs), options.pretraining_share, options.prompt_weight)
    config, device = read_run_options(options, tokens=1)  # the mixture decides how many
    record = finetune(
        options.model, Corpus(options.corpus), options.source, options.out, config, mixture, device, terminal_bar()
    )
    print(f"{options.out}: loss {record.losses[-1][1]:.3f} nats a weighted token after {record.step} steps")
