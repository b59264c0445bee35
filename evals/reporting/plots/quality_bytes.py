"""Quality against bytes on disk."""

from typing import TYPE_CHECKING

from evals.measurement import Measurement
from evals.reporting.frontier import Cost, pareto
from evals.reporting.plotting import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEBIBYTE = 1 << 20
WORTH_SHOWING = 0.99  # a forecast that saves less lies on the mark of the file


@plot()
def quality_bytes(document: dict) -> "Figure":
    """Quality against the bytes of the weights on disk; hollow: what they would take once packed, a forecast."""
    models = document["models"]
    on_disk = {model["id"]: _mebibytes(model["bytes_on_disk"]) for model in models}
    packed = {
        model["id"]: _mebibytes(model["bytes_if_packed"])
        for model in models
        if model["bytes_if_packed"] < WORTH_SHOWING * model["bytes_on_disk"]
    }
    return pareto(document, Cost("weights on disk (MiB)", on_disk, forecasts=packed))


def _mebibytes(count: int) -> Measurement:
    return Measurement("bytes_on_disk", count / MEBIBYTE, "MiB")
