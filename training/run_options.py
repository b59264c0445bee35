"""The options that every stage with a training loop takes."""

from pathlib import Path

from training.schedules import SCHEDULES


def add_run_options(stage, learning_rate: float) -> None:
    """Adds them to the parser of a stage, with its own peak learning rate."""
    stage.add_argument("--corpus", type=Path, required=True, help="folder that `training data` made")
    stage.add_argument("--out", type=Path, required=True, help="new folder for the model")
    stage.add_argument("--batch", type=int, default=8, help="windows in a batch, over all processes (default 8)")
    stage.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches in a step (default 1)")
    stage.add_argument("--length", type=int, default=512, help="tokens in a window (default 512)")
    stage.add_argument(
        "--learning-rate", type=float, default=learning_rate, help=f"peak learning rate (default {learning_rate})"
    )
    stage.add_argument("--schedule", choices=SCHEDULES, default="linear", help="of the learning rate (default linear)")
    stage.add_argument("--warm-up", type=float, default=0.02, help="share of the run that it rises in (default 0.02)")
    stage.add_argument("--optimizer", choices=("muon", "adamw"), default="muon", help="default muon")
    stage.add_argument("--weight-decay", type=float, default=0.1, help="of the matrices (default 0.1)")
    stage.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient (default 1)")
    stage.add_argument("--minutes", type=float, help="end the schedule after so many minutes, if tokens do not")
    stage.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS", help="default 500")
    stage.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    stage.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    stage.add_argument("--seed", type=int, default=0)


def read_run_options(options, tokens: int, validate_every: int | None = None):
    """The `TrainingConfig` and the device that the options say; sets the number of threads."""
    import torch

    from models.policy import choose_device
    from training.loop import TrainingConfig

    if options.threads:
        torch.set_num_threads(options.threads)
    config = TrainingConfig(
        tokens=tokens,
        length=options.length,
        batch=options.batch,
        accumulate=options.accumulate,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
        warm_up=options.warm_up,
        optimizer=options.optimizer,
        weight_decay=options.weight_decay,
        clip=options.clip,
        minutes=options.minutes,
        checkpoint_every=options.checkpoint_every,
        validate_every=validate_every,
        seed=options.seed,
    )
    return config, choose_device(options.device).type
