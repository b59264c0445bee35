"""`python -m training data|pretrain|finetune`: the embedded model, made again."""

import sys
from pathlib import Path

from models.command import Parser, add_debug, finish


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and runs one stage; returns the exit code."""
    options = build_parser().parse_args(arguments)
    return finish(lambda: options.run(options), options.debug)


def build_parser() -> Parser:
    """The command line of `python -m training`."""
    parser = Parser(prog="python -m training", description="Makes the embedded model again, stage by stage.")
    stages = parser.add_subparsers(required=True, metavar="STAGE")

    data = stages.add_parser("data", help="build the pretraining corpus: tokenizer and token file")
    data.add_argument("--source", type=Path, required=True, help="folder of the source texts (see training/README.md)")
    data.add_argument("--out", type=Path, required=True, help="new folder for the corpus")
    data.add_argument("--vocabulary", type=int, default=4096, help="entries of the tokenizer (default 4096)")
    data.add_argument("--length", type=int, default=512, help="the model's context in tokens (default 512)")
    data.add_argument("--seed", type=int, default=0)
    data.set_defaults(run=_data)

    pretrain = stages.add_parser("pretrain", help="train a new model on a corpus")
    pretrain.add_argument("--tokens", type=float, default=15e6, help="tokens to train on (default 15e6)")
    pretrain.set_defaults(run=_pretrain)

    finetune = stages.add_parser("finetune", help="teach a pretrained model the prompt formats")
    finetune.add_argument("model", type=Path, help="folder of the pretrained model")
    finetune.add_argument("--source", type=Path, required=True, help="folder of the source texts")
    finetune.add_argument("--review-epochs", type=int, default=1, help="passes over the reviews (default 1)")
    finetune.add_argument("--question-epochs", type=int, default=2, help="passes over the questions (default 2)")
    finetune.add_argument("--pretraining-share", type=float, default=0.2, help="share of old windows (default 0.2)")
    finetune.set_defaults(run=_finetune)

    for stage, rate in ((pretrain, 5e-3), (finetune, 1.5e-3)):
        stage.add_argument("--corpus", type=Path, required=True, help="folder that `training data` made")
        stage.add_argument("--out", type=Path, required=True, help="new folder for the model")
        stage.add_argument("--batch", type=int, default=8, help="windows in a step (default 8)")
        stage.add_argument("--length", type=int, default=512, help="tokens in a window (default 512)")
        stage.add_argument("--learning-rate", type=float, default=rate, help=f"peak learning rate (default {rate})")
        stage.add_argument("--optimizer", choices=("muon", "adamw"), default="muon", help="default muon")
        stage.add_argument("--minutes", type=float, help="end the schedule after so many minutes, if tokens do not")
        stage.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        stage.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
        stage.add_argument("--seed", type=int, default=0)
    for stage in (data, pretrain, finetune):
        add_debug(stage)
    return parser


def _data(options) -> None:
    from models.progress import terminal_bar
    from training.corpus import build_corpus

    manifest = build_corpus(
        options.source, options.out, options.vocabulary, options.length, options.seed, progress=terminal_bar()
    )
    print(f"{options.out}: {manifest['tokens']:,} tokens of {manifest['documents']:,} documents")


def _pretrain(options) -> None:
    from models.progress import terminal_bar
    from training.corpus import Corpus
    from training.pretrain import pretrain

    config, device = _setting(options, int(options.tokens))
    record = pretrain(Corpus(options.corpus), options.out, config, device, terminal_bar())
    print(f"{options.out}: loss {record.losses[-1][1]:.3f} nats a token after {record.step} steps")


def _finetune(options) -> None:
    from models.progress import terminal_bar
    from training.corpus import Corpus
    from training.finetune import Mixture, finetune

    config, device = _setting(options, tokens=1)  # the mixture decides how many
    mixture = Mixture(options.review_epochs, options.question_epochs, options.pretraining_share)
    record = finetune(
        options.model, Corpus(options.corpus), options.source, options.out, config, mixture, device, terminal_bar()
    )
    print(f"{options.out}: loss {record.losses[-1][1]:.3f} nats a weighted token after {record.step} steps")


def _setting(options, tokens: int):
    import torch

    from models.policy import choose_device
    from training.loop import TrainingConfig

    if options.threads:
        torch.set_num_threads(options.threads)
    config = TrainingConfig(
        tokens=tokens,
        length=options.length,
        batch=options.batch,
        learning_rate=options.learning_rate,
        optimizer=options.optimizer,
        minutes=options.minutes,
        seed=options.seed,
    )
    return config, choose_device(options.device).type


if __name__ == "__main__":
    sys.exit(main())
