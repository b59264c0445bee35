"""What becomes of the weights that stay: one file a solver, pure functions on tensors.

`solve(problem: LayerProblem) -> Solution` (see `pruning.numerics.layer_problem`). A solver names in `needs` the statistics that it reads
and in `methods` the methods whose scores it can work with, where not all of them make sense.
"""
