"""The command `pretrain`: a new model from a corpus. Imports nothing heavy until it runs."""

from training.architecture import SHAPES
from training.run_options import add_run_options, read_run_options


def add_to(stages):
    """Adds the command to the stages of `python -m training`, and returns its parser."""
    pretrain = stages.add_parser(
        "pretrain",
        help="train a new model on a corpus",
        epilog="Shared by N processes: on GPUs by `accelerate launch --multi_gpu --num_processes N -m training "
        "pretrain ...`; on CPUs, where accelerate launches one process only, by `torchrun --nproc_per_node N ...`.",
    )
    pretrain.add_argument("--tokens", type=float, default=15e6, help="tokens to train on (default 15e6)")
    pretrain.add_argument("--shape", choices=SHAPES, default="6M", help="size of the model (default 6M)")
    pretrain.add_argument(
        "--validate-every", type=int, metavar="STEPS", help="keep the corpus's end back and measure the loss on it"
    )
    add_run_options(pretrain, learning_rate=5e-3)
    pretrain.set_defaults(run=run)
    return pretrain


def run(options) -> None:
    """`pretrain`, with the options parsed."""
    from accelerate import PartialState

    from models.console.progress import terminal_bar
    from training.checkpoint import try_out
    from training.corpus import Corpus
    from training.pretrain import pretrain

    try_out(options.out)
    config, device = read_run_options(options, int(options.tokens), options.validate_every)
    record = pretrain(Corpus(options.corpus), options.out, config, device, terminal_bar(), options.shape)
    if PartialState().is_main_process:
        print(f"{options.out}: loss {record.losses[-1][1]:.3f} nats a token after {record.step} steps")
