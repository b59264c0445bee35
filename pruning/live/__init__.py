"""Pruning while a slider moves: masks from statistics of the dense model, kept on disk, applied within a second.

Unlike `pruning.prune`, which scores every block on what the pruned blocks before it give, nothing is handed on from
block to block here: all masks come from what the dense model's own inputs are. That is why a new sparsity, pattern or
cheap score needs no forward pass, and why the result is a preview and not the same model.
"""
