"""How the sparsity is shared out: one file a method, `allocate(projections, sparsity) -> {name: sparsity}`."""
