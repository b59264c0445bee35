"""Quality against the speed of generation."""

from typing import TYPE_CHECKING

from evals.reporting.canvas import two_lines
from evals.reporting.frontier import Cost, pareto
from evals.reporting.headings import facts
from evals.reporting.plotting import Undrawable, plot
from evals.runs.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLACE = ("batch", "prompt_tokens", "new_tokens", "device", "dtype")


@plot()
def quality_speed(document: dict) -> "Figure":
    """Quality against decode speed, both with their 95 % intervals."""
    found = [Result.from_dict(entry) for entry in document["results"] if entry["metric"] == "decode_rate"]
    if not found:
        raise Undrawable("no speed was measured")
    protocol = found[0].measurement.protocol
    alike = [
        result for result in found if all(result.measurement.protocol.get(key) == protocol.get(key) for key in PLACE)
    ]
    rates = {result.model: result.measurement for result in alike}
    return pareto(
        document, Cost(two_lines("decode rate (tokens/s)", facts(protocol, PLACE)), rates, cheaper_is_lower=False)
    )
