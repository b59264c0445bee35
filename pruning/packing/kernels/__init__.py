"""The C++ kernels: compiled the first time they are wanted, kept for every process after that."""

from pruning.packing.kernels.library import kernels, state

__all__ = ["kernels", "state"]
