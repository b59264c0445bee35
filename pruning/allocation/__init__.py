"""How the sparsity is shared out: one file a method, pure functions.

`allocate(projections, sparsity, measures) -> {name: sparsity}`. `measures` holds by projection what the entry's
`measure(weight, statistics) -> Tensor` took down in a walk over the dense model, on the statistics that `needs` names;
it is empty, and there is no walk, for an entry without `measure`.
"""
