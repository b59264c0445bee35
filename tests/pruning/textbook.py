"""Solvers as their papers write them, in numpy and fp64: the references that ours are held against."""

import numpy as np
import scipy.linalg

from pruning.patterns.n_m import NM


def textbook_sparsegpt(weight: np.ndarray, gram: np.ndarray, pattern, sparsity: float) -> np.ndarray:
    """Algorithm 1 of the paper, column after column; each block of 128 drops the share that makes the total exact."""
    weight, (rows, count) = weight.astype(np.float64), weight.shape
    damped = gram.astype(np.float64) + 0.01 * np.mean(np.diag(gram)) * np.eye(count)
    upper = scipy.linalg.cholesky(np.linalg.inv(damped))
    span = pattern.of if isinstance(pattern, NM) else 128
    keep = np.ones((rows, count), bool)
    for j in range(count):
        if j % span == 0:
            block = slice(j, min(j + span, count))
            scores = (weight[:, block] / np.diag(upper)[block]) ** 2
            if isinstance(pattern, NM):
                lowest = np.argsort(scores, axis=1)[:, : pattern.of - pattern.kept]
                np.put_along_axis(keep[:, block], lowest, False, axis=1)
            else:
                share = round(rows * block.stop * sparsity) - round(rows * block.start * sparsity)
                kept = np.ones(scores.size, bool)  # bf16 weights of one column are often equal: the first row's goes
                kept[np.argsort(scores.T, axis=None, kind="stable")[:share]] = False
                keep[:, block] = kept.reshape(scores.T.shape).T
        error = np.where(keep[:, j], 0, weight[:, j]) / upper[j, j]
        weight[:, j:] -= np.outer(error, upper[j, j:])
    return weight * keep


def textbook_alps(weight: np.ndarray, gram: np.ndarray, support) -> np.ndarray:
    """ADMM with the published penalty rule, then ten conjugate gradient steps on the support it ends with."""
    norms = np.sqrt(np.diag(gram))
    matrix = gram / norms / norms[:, None] + 0.01 * np.eye(len(gram))
    dense = weight * norms
    first = dense * support(dense)
    d, v, rho, grew, before = first.copy(), np.zeros_like(dense), 0.1, False, first != 0
    kept = before.sum()
    for step in range(1, 301):
        b = scipy.linalg.solve(matrix + rho * np.eye(len(matrix)), (dense @ matrix - v + rho * d).T, assume_a="pos").T
        d = b + v / rho
        d = d * support(d)
        v = v + rho * (b - d)
        if step % 3 == 0:
            change = (before != (d != 0)).sum()
            before = d != 0
            if change / kept > 0.1:
                rho, grew = rho * 1.3, True
            elif change / kept > 0.005:
                rho, grew = rho * 1.2, True
            elif change and grew:
                rho *= 1.1
            elif change:
                rho, d, v = rho / 5, first.copy(), np.zeros_like(dense)
            elif grew:
                break
            else:
                rho /= 5
            if step > 30 and change / kept < 3e-4:
                break
    keep = support(b)
    return np.stack([conjugate_gradients(*row, matrix) for row in zip(dense, b * keep, keep, strict=True)]) / norms


def conjugate_gradients(dense: np.ndarray, fitted: np.ndarray, keep: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Ten steps for one row; the diagonal of `matrix` is constant, so that its preconditioner is none."""
    residual = ((dense - fitted) @ matrix) * keep
    direction = residual.copy()
    for _ in range(10):
        image = (direction @ matrix) * keep
        stride = (residual @ residual) / (direction @ image)
        fitted, after = fitted + stride * direction, residual - stride * image
        direction = after + (after @ after) / (residual @ residual) * direction
        residual = after
    return fitted


def least_squares(dense: np.ndarray, matrix: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The minimum over the kept entries of every row, exactly."""
    fitted = np.zeros_like(dense)
    for row, mask in enumerate(keep):
        target = dense[row] @ matrix[:, mask]
        fitted[row, mask] = np.linalg.solve(matrix[np.ix_(mask, mask)], target)
    return fitted
