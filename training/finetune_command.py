"""The command `finetune`: a pretrained model learns the prompt formats. Imports nothing heavy until it runs."""

from pathlib import Path

from training.run_options import add_run_options, read_run_options


def add_to(stages):
    """Adds the command to the stages of `python -m training`, and returns its parser."""
    finetune = stages.add_parser("finetune", help="teach a pretrained model the prompt formats")
    finetune.add_argument("model", type=Path, help="folder of the pretrained model")
    finetune.add_argument("--source", type=Path, required=True, help="folder of the source texts")
    finetune.add_argument("--review-epochs", type=int, default=1, help="passes over the reviews (default 1)")
    finetune.add_argument("--question-epochs", type=int, default=2, help="passes over the questions (default 2)")
    finetune.add_argument("--pretraining-share", type=float, default=0.2, help="share of old windows (default 0.2)")
    add_run_options(finetune, learning_rate=1.5e-3)
    finetune.set_defaults(run=run)
    return finetune


def run(options) -> None:
    """`finetune`, with the options parsed."""
    from models.progress import terminal_bar
    from training.corpus import Corpus
    from training.finetune import Mixture, finetune

    config, device = read_run_options(options, tokens=1)  # the mixture decides how many
    mixture = Mixture(options.review_epochs, options.question_epochs, options.pretraining_share)
    record = finetune(
        options.model, Corpus(options.corpus), options.source, options.out, config, mixture, device, terminal_bar()
    )
    print(f"{options.out}: loss {record.losses[-1][1]:.3f} nats a weighted token after {record.step} steps")
