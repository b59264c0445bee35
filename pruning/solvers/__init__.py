"""What becomes of the weights that stay: one file a solver, pure functions on tensors.

`solve(weight, keep, statistics) -> weight`: the new weight [R, C], zero wherever the mask `keep` [R, C] is False.
"""
