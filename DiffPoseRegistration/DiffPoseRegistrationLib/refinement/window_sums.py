"""Correlations over overlapping windows from sums of products over the cells that the windows share.

The windows' edges cut the image into cells, and a window is a rectangle of them. Of every pixel with weight w let
``z = (1, x, i, J)`` hold one, the X-ray, the simulated X-ray and its p derivatives: the weighted moments
``M = sum w z z^T`` of a window are the sum of its cells' moments, and all that :mod:`.similarity` needs follows from M.
A pixel is so visited once, in however many windows it lies.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from ..rendering.launching import launching

_LARGEST_CELL = 32  # pixels a side: one large window still is work for all cores, and single precision suffices
_NS_A_PIXEL = 8.0  # on one core


@dataclass(frozen=True)
class Cells:
    """The cells of windows.

    rows, columns
        Their edges in pixels, int32, ascending.
    corners
        Array [w, 4], int32: (first row, first column, last row + 1, last column + 1) of each window, in cells.
    """

    rows: np.ndarray
    columns: np.ndarray
    corners: np.ndarray

    @classmethod
    def of(cls, bounds: np.ndarray) -> Cells:
        """For windows of ``bounds`` [w, 4]: (top, left, bottom, right) in pixels."""
        rows, columns = (_edges(bounds[:, (n, n + 2)]) for n in (0, 1))
        places = [np.searchsorted(edges, bounds[:, n]) for n, edges in enumerate((rows, columns, rows, columns))]
        return cls(rows, columns, np.stack(places, axis=1).astype(np.int32))


def _edges(ends: np.ndarray) -> np.ndarray:
    edges = np.unique(ends)
    parts = [np.arange(a, b, _LARGEST_CELL) for a, b in itertools.pairwise(edges)]
    return np.concatenate([*parts, edges[-1:]]).astype(np.int32)


def correlations(
    xray: np.ndarray, pixel_weight: np.ndarray, drr: np.ndarray, jacobian: np.ndarray, cells: Cells
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """NCC [n, w], gradient of ``1 - NCC`` [n, w, p] and Gauss-Newton matrix [n, w, p, p] of the windows of ``cells``.

    ``xray`` and ``pixel_weight`` [rows, columns], ``drr`` [n, rows, columns], ``jacobian`` [n, rows, columns, p].
    """
    n, w, p = drr.shape[0], len(cells.corners), jacobian.shape[-1]
    ncc, gradient, normal = np.zeros((n, w)), np.zeros((n, w, p)), np.zeros((n, w, p, p))
    if w:
        moments = np.empty((n, len(cells.rows) - 1, len(cells.columns) - 1, p + 3, p + 3))
        # Correlation does not see an offset, but small squares lose less in single precision.
        xray, drr = xray - xray.mean(), drr - drr.mean(axis=(1, 2), keepdims=True)
        quantities = tuple(range(p + 3))
        with launching(drr.size * _NS_A_PIXEL):
            _moments(xray, pixel_weight, drr, jacobian, cells.rows, cells.columns, quantities, moments)
            _correlations(moments, cells.corners, quantities, ncc, gradient, normal)
    return ncc, gradient, normal


@njit(parallel=True, fastmath=True, error_model="numpy", boundscheck=False, cache=True)
def _moments(xray, pixel_weight, drr, jacobian, row_edges, column_edges, quantities, moments):
    down, across = len(row_edges) - 1, len(column_edges) - 1
    columns = drr.shape[2]
    size = len(quantities)  # of a tuple, and so known when this is compiled
    for job in prange(drr.shape[0] * down):
        m, down_n = job // down, job % down
        # Single precision, and one sum for each column of pixels: what the processor adds eight or sixteen at a time.
        z, wz = np.ones((size, columns), np.float32), np.empty((size, columns), np.float32)
        total = np.zeros((size, size, columns), np.float32)
        for r in range(row_edges[down_n], row_edges[down_n + 1]):
            for c in range(columns):
                z[1, c], z[2, c] = xray[r, c], drr[m, r, c]
            for c in range(columns):
                for a in range(3, size):
                    z[a, c] = jacobian[m, r, c, a - 3]
            for a in range(size):
                for c in range(columns):
                    wz[a, c] = pixel_weight[r, c] * z[a, c]
            for a in range(size):
                for b in range(a, size):
                    for c in range(columns):
                        total[a, b, c] += wz[a, c] * z[b, c]
        for a in range(size):
            for b in range(a, size):
                for across_n in range(across):
                    over_cell = 0.0
                    for c in range(column_edges[across_n], column_edges[across_n + 1]):
                        over_cell += total[a, b, c]
                    moments[m, down_n, across_n, a, b] = over_cell
                    moments[m, down_n, across_n, b, a] = over_cell


@njit(parallel=True, fastmath=True, error_model="numpy", boundscheck=False, cache=True)
def _correlations(moments, corners, quantities, ncc, gradient, normal):
    images, windows = ncc.shape
    size = len(quantities)
    for job in prange(images * windows):
        m, k = job // windows, job % windows
        total = np.zeros((size, size))
        for down in range(corners[k, 0], corners[k, 2]):
            for across in range(corners[k, 1], corners[k, 3]):
                for a in range(size):
                    for b in range(size):
                        total[a, b] += moments[m, down, across, a, b]
        sw = total[0, 0]
        if sw <= 0:
            continue
        sx, si = total[0, 1], total[0, 2]
        vx, vi, vxi = total[1, 1] - sx * sx / sw, total[2, 2] - si * si / sw, total[1, 2] - sx * si / sw
        if vx <= 0 or vi <= 1e-9 * total[2, 2]:
            continue  # nothing to correlate with: the window stays at correlation zero, without a pull
        nx, ni = math.sqrt(vx), math.sqrt(vi)
        value = vxi / (nx * ni)
        ncc[m, k] = value
        for a in range(3, size):
            u_j = (total[1, a] - sx * total[0, a] / sw) / nx
            v_j = (total[2, a] - si * total[0, a] / sw) / ni
            gradient[m, k, a - 3] = -(u_j - value * v_j) / ni
            for b in range(3, size):
                v_b = (total[2, b] - si * total[0, b] / sw) / ni
                normal[m, k, a - 3, b - 3] = (total[a, b] - total[0, a] * total[0, b] / sw - v_j * v_b) / vi
