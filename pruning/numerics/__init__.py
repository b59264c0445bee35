"""The arithmetic of one projection: Gram matrices, least squares, exact choices, permutations."""
