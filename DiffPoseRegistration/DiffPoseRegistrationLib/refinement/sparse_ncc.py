"""Multiscale NCC over some patches only, drawn anew at every step: DiffPose's sparse rendering.

Gopalakrishnan, Dey and Golland (CVPR 2024) render 100 patches of 13 pixels, drawn by the importance that their
network's last activation map gives them. Without a network the X-ray's own structure says where looking pays.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .dense_ncc import SMALLEST_COVERAGE, VARIANCE_FLOOR


class SparseNCC:
    """Half NCC over all pixels drawn, half mean NCC of the patches.

    Parameters
    ----------
    xray, pixel_weight
        The X-ray and the weights of its pixels, [rows, columns].
    patch, count
        Side of a patch in pixels and how many are drawn.
    seed
        The same seed draws the same patches.
    """

    def __init__(self, xray: np.ndarray, pixel_weight: np.ndarray, patch: int, count: int, seed: int = 0) -> None:
        self._xray = np.asarray(xray, dtype=np.float64)
        self._weight = np.asarray(pixel_weight, dtype=np.float64)
        self._patch, self._count = min(patch, *self._xray.shape), count
        self._random = np.random.default_rng(seed)
        self._floor = VARIANCE_FLOOR * float(np.ptp(self._xray)) ** 2
        self._importance = patch_importance(self._xray, self._weight, self._patch)
        self.draw()

    def draw(self) -> None:
        """Draw other patches; ``pixels`` [p, 2] = (column, row) are those to be rendered, each once."""
        columns = self._xray.shape[1]
        corner = self._random.choice(self._importance.size, self._count, p=self._importance.reshape(-1))
        top, left = np.unravel_index(corner, self._importance.shape)
        within = np.arange(self._patch)
        rows = top[:, None, None] + within[:, None]
        flat = (rows * columns + left[:, None, None] + within[None, :]).reshape(self._count, -1)
        unique, inverse = np.unique(flat, return_inverse=True)
        self.pixels = np.stack([unique % columns, unique // columns], axis=1).astype(np.float64)
        self._of_patch = inverse.reshape(flat.shape)
        self._x, self._w = self._xray.reshape(-1)[unique], self._weight.reshape(-1)[unique]

    def __call__(self, drr: np.ndarray) -> tuple[float, np.ndarray]:
        """Similarity of the simulated ``pixels`` [p] and its derivative [p] by each of them."""
        drr = np.asarray(drr, dtype=np.float64)
        whole, by_pixel = _ncc(self._x[None], drr[None], self._w[None], self._floor)
        at = self._of_patch
        local, by_patch = _ncc(self._x[at], drr[at], self._w[at], self._floor)
        derivative = 0.5 * by_pixel[0]
        derivative += np.bincount(at.reshape(-1), 0.5 / len(at) * by_patch.reshape(-1), len(drr))
        return 0.5 * float(whole[0]) + 0.5 * float(local.mean()), derivative


def patch_importance(xray: np.ndarray, pixel_weight: np.ndarray, patch: int) -> np.ndarray:
    """Probability [rows - patch + 1, columns - patch + 1] of drawing the patch whose corner is at a pixel:
    proportional to the X-ray's standard deviation there, zero where it is mostly masked."""

    def mean(image: np.ndarray) -> np.ndarray:
        centred = ndimage.uniform_filter(image, patch, mode="constant")
        before = patch // 2
        return centred[before : before + image.shape[0] - patch + 1, before : before + image.shape[1] - patch + 1]

    coverage = mean(pixel_weight)
    total = np.maximum(coverage, 1e-9)
    centred = xray - xray.mean()
    average = mean(pixel_weight * centred) / total
    variance = mean(pixel_weight * centred**2) / total - average**2
    importance = np.where(coverage >= SMALLEST_COVERAGE, np.sqrt(np.maximum(variance, 0)), 0.0)
    if importance.sum() <= 0:
        importance = np.ones_like(importance)
    return importance / importance.sum()


def _ncc(x: np.ndarray, i: np.ndarray, w: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Weighted NCC [k] of pixels [k, p] and its derivative [k, p] by those of ``i``; see :mod:`.dense_ncc`."""
    w = w / np.maximum(w.sum(axis=1, keepdims=True), 1e-12)
    x, i = x - (w * x).sum(axis=1, keepdims=True), i - (w * i).sum(axis=1, keepdims=True)
    variance_x, variance_i = (w * x**2).sum(axis=1) + floor, (w * i**2).sum(axis=1) + floor
    norm = np.sqrt(variance_x * variance_i)
    ncc = (w * x * i).sum(axis=1) / norm
    return ncc, w * (x / norm[:, None] - i * (ncc / variance_i)[:, None])
