"""In how many steps the zeros come: one file a schedule, `steps(sparsity) -> list of sparsities`, rising to the last.

A projection is scored and solved anew at every step, on the same statistics; what went in a step stays gone.
"""
