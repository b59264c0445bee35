"""Everything that can be chosen: the ways to prune, the metrics, the tasks."""

from benchmarks.publishing.text import table
from evals import registry, task
from pruning.registry import entries

KINDS = ("method", "solver", "allocation", "schedule", "pattern", "structure", "recover")


def methods() -> str:
    """Everything that pruning can choose, as `python -m pruning methods` lists it."""
    rows = [[entry.kind, f"`{entry.name}`", escaped(entry.summary)] for kind in KINDS for entry in entries(kind)]
    return table(["kind", "name", "what it does"], rows)


def metrics() -> str:
    """The metrics of `python -m evals run --metrics`."""
    rows = [[f"`{name}`", escaped(registry.summary(name))] for name in registry.names()]
    return table(["metric", "what it measures"], rows)


def tasks() -> str:
    """The tasks of `python -m evals run --tasks`, as `python -m evals tasks` lists them."""
    found = [task.find(name) for name in task.names()]
    rows = [[f"`{each.name}`", f"`{each.metric}`", data(each), escaped(each.summary)] for each in found]
    return table(["task", "metric", "data", "what it is"], rows)


def data(each: task.Task) -> str:
    """Where a task's rows are: `ships`, files below --source, a set of the Hub where there is no --source."""
    if each.is_embedded:
        return "ships"
    files = each.data["file"] if isinstance(each.data["file"], list) else [each.data["file"]]
    hub = [f"or the Hub's `{each.hub.split(':')[0]}`"] if each.hub else []
    return " ".join([", ".join(f"`{file}`" for file in files), *hub])


def escaped(text: str) -> str:
    """A text that may stand in a cell."""
    return text.replace("|", "\\|")
