"""The options that every stage with a training loop takes."""

from pathlib import Path


def add_run_options(stage, learning_rate: float) -> None:
    """Adds them to the parser of a stage, with its own peak learning rate."""
    stage.add_argument("--corpus", type=Path, required=True, help="folder that `training data` made")
    stage.add_argument("--out", type=Path, required=True, help="new folder for the model")
    stage.add_argument("--batch", type=int, default=8, help="windows in a step (default 8)")
    stage.add_argument("--length", type=int, default=512, help="tokens in a window (default 512)")
    stage.add_argument(
        "--learning-rate", type=float, default=learning_rate, help=f"peak learning rate (default {learning_rate})"
    )
    stage.add_argument("--optimizer", choices=("muon", "adamw"), default="muon", help="default muon")
    stage.add_argument("--minutes", type=float, help="end the schedule after so many minutes, if tokens do not")
    stage.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    stage.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    stage.add_argument("--seed", type=int, default=0)


def read_run_options(options, tokens: int):
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
        learning_rate=options.learning_rate,
        optimizer=options.optimizer,
        minutes=options.minutes,
        seed=options.seed,
    )
    return config, choose_device(options.device).type
