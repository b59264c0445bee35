"""The loss of a training run against its tokens, drawn as PNG and SVG."""

from pathlib import Path

from models.errors import RequestError


def require_matplotlib() -> None:
    """RequestError if matplotlib is missing: better said before hours of training than after."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise RequestError("The loss plot needs matplotlib: pip install -r requirements-training.txt") from None


def plot_losses(stages: dict[str, dict], folder: Path) -> None:
    """Writes `loss.png` and `loss.svg` to `folder`: a panel for each stage of `training.json`."""
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    figure = Figure(figsize=(6 * len(stages), 4), layout="constrained")
    for number, (name, run) in enumerate(stages.items(), 1):
        axes = figure.add_subplot(1, len(stages), number)
        for label in ("losses", "validation"):
            if points := run.get(label):
                tokens, losses = zip(*points, strict=True)
                axes.plot([count / 1e6 for count in tokens], losses, label="training" if label == "losses" else label)
        axes.set(title=name, xlabel="million tokens", ylabel="loss (nats a token)")
        axes.grid(alpha=0.3)
        axes.legend()
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"loss.{suffix}", dpi=150)
