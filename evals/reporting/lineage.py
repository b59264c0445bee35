"""What was done to the models of a results document: how each was pruned, how much, and from which model."""

from collections.abc import Iterable
from dataclasses import dataclass

from models.console.units import format_percent

# Settings of a recipe that name a method, with the value that goes without saying.
USUAL = {
    "pattern": "unstructured", "structure": "none", "allocation": "uniform", "solver": "none", "schedule": "one-shot",
    "recover": "none",
}  # fmt: skip
NOTICEABLE = 0.01  # share of a model's parameters; less missing is no pruning


@dataclass(frozen=True)
class Pruned:
    """One model: how it was pruned (None for a dense one or where no record tells), and how much.

    `sparsity` is the share of the prunable weights that is zero, as the recipe says; `removed` the share of the
    parameters of the `baseline`, the model that it is compared with, that is zero or gone.
    """

    name: str
    method: str | None
    sparsity: float | None
    removed: float
    baseline: str

    @property
    def is_dense(self) -> bool:
        """Whether next to nothing was removed."""
        return self.method is None and self.removed < NOTICEABLE


def lineage(document: dict) -> dict[str, Pruned]:
    """Every model of the document, by name."""
    by_name = {model["id"]: model for model in document["models"]}
    baseline_of = {entry["model"]: entry["baseline"] for entry in document["results"] if entry["baseline"]}
    found = {}
    for name, model in by_name.items():
        whole = by_name[baseline_of.get(name, name)]["parameters"]
        recipe = model.get("pruning") or {}
        recipe = recipe.get("config") or recipe
        removed = max(0.0, 1 - model["nonzero_parameters"] / whole)
        found[name] = Pruned(name, recipe_name(recipe), recipe.get("sparsity"), removed, baseline_of.get(name, name))
    return found


def recipe_name(recipe: dict) -> str | None:
    """`wanda, 2:4`: the method of a recipe and every setting that is not the usual one; None without a method."""
    if not recipe.get("method"):
        return None
    apart = [str(recipe[key]) for key, usual in USUAL.items() if recipe.get(key) not in (None, usual)]
    return ", ".join([recipe["method"], *apart])


def amounts(models: Iterable[Pruned]) -> tuple[dict[str, float], str]:
    """How much of each model is gone, as a fraction, and the label of an axis that shows it in percent.

    The sparsity of the recipes where every pruned model has one, for so methods are compared; else the share of the
    baseline's parameters.
    """
    models = list(models)
    if all(model.is_dense or model.sparsity is not None for model in models):
        return {model.name: model.sparsity or 0.0 for model in models}, "sparsity (% of the prunable weights)"
    return {model.name: model.removed for model in models}, "removed (% of all parameters, zero or gone)"


def point_label(model: Pruned) -> str:
    """What a point of a plot is called: its sparsity on the line of its method, else the model's name."""
    if model.method is None or model.sparsity is None:
        return model.name
    return format_percent(model.sparsity, 0)
