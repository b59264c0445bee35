"""The command `pretrain`: a new model from a corpus. Imports nothing heavy until it runs."""

from training.run_options import add_run_options, read_run_options


def add_to(stages):
    """Adds the command to the stages of `python -m training`, and returns its parser."""
    pretrain = stages.add_parser("pretrain", help="train a new model on a corpus")
    pretrain.add_argument("--tokens", type=float, default=15e6, help="tokens to train on (default 15e6)")
    add_run_options(pretrain, learning_rate=5e-3)
    pretrain.set_defaults(run=run)
    return pretrain


def run(options) -> None:
    """`pretrain`, with the options parsed."""
    from models.progress import terminal_bar
    from training.corpus import Corpus
    from training.pretrain import pretrain

    config, device = read_run_options(options, int(options.tokens))
    record = pretrain(Corpus(options.corpus), options.out, config, device, terminal_bar())
    print(f"{options.out}: loss {record.losses[-1][1]:.3f} nats a token after {record.step} steps")
