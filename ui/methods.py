"""The pruning methods as the page offers them: the registry's, each with the patterns and solvers that make sense with it."""

from ui.engine import NO_SOLVER, UNSTRUCTURED, Method


def methods_of_registry() -> tuple[Method, ...]:
    """Every method of `pruning.registry`, weight methods first."""
    from pruning.registry import catalogue

    entries = catalogue()
    spelled = [name for entry in entries if entry.kind == "pattern" for name in entry.examples or (entry.name,)]
    patterns = tuple(sorted(spelled, key=lambda name: name != UNSTRUCTURED))
    solvers = sorted((entry for entry in entries if entry.kind == "solver"), key=lambda entry: entry.name != NO_SOLVER)
    methods = []
    for entry in entries:
        if entry.kind != "method":
            continue
        if entry.structure == "none":
            fitting = {
                solver.name: solver.summary
                for solver in solvers
                if solver.methods is None or entry.name in solver.methods
            }
            methods.append(Method(entry.name, entry.summary, entry.structure, patterns, fitting))
        else:
            methods.append(Method(entry.name, entry.summary, entry.structure, ()))
    return tuple(sorted(methods, key=lambda method: (method.structure != "none", method.name != "wanda")))
