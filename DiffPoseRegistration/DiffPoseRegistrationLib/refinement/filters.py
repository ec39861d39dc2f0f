"""Linear image filters that carry over to the pose Jacobian: filtering the derivative of an image is
differentiating the filtered image."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

FILTERS = ("none", "gradient", "laplacian")


def filtered(stack: np.ndarray, kind: str, sigma_px: float) -> list[np.ndarray]:
    """The channels of a filter for images ``stack`` [n, rows, columns, k], float32.

    ``none`` gives the stack itself, ``gradient`` two channels (along columns, along rows), ``laplacian``
    one; the latter two are Gaussian derivatives of width ``sigma_px``.
    """
    if kind == "none":
        return [stack]
    smooth, first, second = (_kernel(sigma_px, order) for order in (0, 1, 2))
    if kind == "gradient":
        return [_separable(stack, smooth, first), _separable(stack, first, smooth)]
    if kind == "laplacian":
        return [_separable(stack, smooth, second) + _separable(stack, second, smooth)]
    raise ValueError(f"unknown filter {kind!r}; one of {FILTERS}")


def _kernel(sigma: float, order: int) -> np.ndarray:
    """Sampled Gaussian of ``sigma`` pixels or its derivative, as a correlation kernel cut at 3 sigma."""
    radius = max(1, math.ceil(3 * sigma))
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    gauss = np.exp(-0.5 * (x / sigma) ** 2)
    gauss /= gauss.sum()
    if order == 1:
        gauss = gauss * x / sigma**2
    elif order == 2:
        gauss = gauss * (x**2 - sigma**2) / sigma**4
        gauss -= gauss.mean()  # a constant image must give exactly zero in spite of the cut
    return gauss.astype(np.float32)


@njit(parallel=True, fastmath=True, error_model="numpy", boundscheck=False, cache=True)
def _separable(stack, along_rows, along_columns):
    count, rows, columns, channels = stack.shape
    half_r, half_c = len(along_rows) // 2, len(along_columns) // 2
    between = np.empty_like(stack)
    out = np.empty_like(stack)
    for job in prange(count * rows):
        m, r = job // rows, job % rows
        for c in range(columns):
            for k in range(channels):
                total = np.float32(0)
                for n in range(len(along_columns)):
                    total += along_columns[n] * stack[m, r, min(max(c + n - half_c, 0), columns - 1), k]
                between[m, r, c, k] = total
    for job in prange(count * rows):
        m, r = job // rows, job % rows
        out[m, r] = 0
        for n in range(len(along_rows)):
            source = min(max(r + n - half_r, 0), rows - 1)
            for c in range(columns):
                for k in range(channels):
                    out[m, r, c, k] += along_rows[n] * between[m, source, c, k]
    return out
