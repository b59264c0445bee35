"""The pruning methods as the page offers them: the registry's, each with the patterns that make sense with it."""

from functools import cache

from ui.engine import UNSTRUCTURED, Method


@cache
def methods_of_registry() -> tuple[Method, ...]:
    """Every method of `pruning.registry`, weight methods first."""
    from pruning.registry import catalogue

    entries = catalogue()
    spelled = [name for entry in entries if entry.kind == "pattern" for name in entry.examples or (entry.name,)]
    patterns = tuple(sorted(spelled, key=lambda name: name != UNSTRUCTURED))
    methods = [
        Method(entry.name, entry.summary, entry.structure, patterns if entry.structure == "none" else ())
        for entry in entries
        if entry.kind == "method"
    ]
    return tuple(sorted(methods, key=lambda method: (method.structure != "none", method.name != "wanda")))
