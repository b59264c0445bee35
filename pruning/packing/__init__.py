"""Packed models: zeros take a bit each and no time, in memory, in files and in the products of matrices.

format    how a matrix is stored: `bitmask`, `N:M`, `dense`, each with the values as they are or as int8
storage   one matrix in such a format: encoded from a weight, decoded to it again
linear    `PackedLinear`, which stands in the place of a Linear; `embedding` for a quantised one
install   puts them into a model, and the ordinary modules back
folder    the files: FORMAT.md says what is in them
kernels   the products, in C++ for processors and in Triton for GPUs
"""
