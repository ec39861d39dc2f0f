"""Local NCC over every patch of an image, with its derivative by pixel: the similarity of DiffPose and xvr.

For one patch with pixel weights w, N their sum, means m and variances v (of the X-ray x and the simulated
X-ray i), and the covariance c

    NCC = c / sqrt((v_x + e) (v_i + e)),
    dNCC / di_p = w_p / N [ (x_p - m_x) / sqrt((v_x + e) (v_i + e))  -  NCC (i_p - m_i) / (v_i + e) ]

and a pixel's derivative of the mean over patches is the sum over the patches that hold it. Both the sums over a
patch and those over the patches of a pixel are box sums, so a dense evaluation costs a few passes over the image
whatever the patch size. (The least-squares form in :mod:`.similarity` needs products of Jacobians by window
besides; first-order optimisers do not.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numba import njit
from scipy import ndimage

VARIANCE_FLOOR = 1e-5  # e, for images of range one: what DiffDRR adds; it silences noise in flat patches
SMALLEST_COVERAGE = 0.5  # of a patch's pixels that must be inside the mask


class ImageSimilarity(Protocol):
    """Similarity of a simulated X-ray [rows, columns] and its derivative by pixel [rows, columns]."""

    def __call__(self, drr: np.ndarray) -> tuple[float, np.ndarray]: ...


@njit(error_model="numpy", boundscheck=False, cache=True)  # one thread: it takes less than starting several
def _box_sums(stack, side):
    count, rows, columns = stack.shape
    out = np.empty((count, rows - side + 1, columns - side + 1))
    for m in range(count):
        column = np.zeros(columns)
        for r in range(rows):
            for c in range(columns):
                column[c] += stack[m, r, c]
                if r >= side:
                    column[c] -= stack[m, r - side, c]
            if r >= side - 1:
                total = 0.0
                for c in range(columns):
                    total += column[c]
                    if c >= side:
                        total -= column[c - side]
                    if c >= side - 1:
                        out[m, r - side + 1, c - side + 1] = total
    return out


class DenseNCC:
    """Mean NCC over all patches of one size.

    Parameters
    ----------
    xray, pixel_weight
        The X-ray and the weights of its pixels, [rows, columns].
    patch
        Side in pixels, one patch at every pixel that has room for it; None: one patch, the whole image.
    """

    def __init__(self, xray: np.ndarray, pixel_weight: np.ndarray, patch: int | None = None) -> None:
        self._weight = np.asarray(pixel_weight, dtype=np.float64)
        inside = self._weight > 0
        xray = np.asarray(xray, dtype=np.float64)
        # Shifting both images leaves NCC as it is and keeps differences of sums accurate.
        self._shift = float(xray[inside].mean()) if inside.any() else 0.0
        self._xray = xray - self._shift
        self._floor = VARIANCE_FLOOR * float(np.ptp(xray[inside])) ** 2 if inside.any() else 0.0
        self._patch = None if patch is None else min(patch, *xray.shape)
        wx = self._weight * self._xray
        total, mean, square = self._sums(np.stack([self._weight, wx, wx * self._xray]))
        pixels = xray.size if self._patch is None else self._patch**2
        valid = total >= SMALLEST_COVERAGE * pixels if self._patch is not None else total > 0
        self._total = np.where(valid, total, 1.0)
        self._share = valid / max(int(np.sum(valid)), 1)
        self._mean = mean / self._total
        self._deviation = np.sqrt(np.maximum(square / self._total - self._mean**2, 0) + self._floor)

    def __call__(self, drr: np.ndarray) -> tuple[float, np.ndarray]:
        image = np.asarray(drr, dtype=np.float64) - self._shift
        wi = self._weight * image
        first, square, product = self._sums(np.stack([wi, wi * image, wi * self._xray]))
        mean = first / self._total
        variance = np.maximum(square / self._total - mean**2, 0) + self._floor
        deviation = self._deviation * np.sqrt(variance)
        safe = np.where(deviation > 0, deviation, 1.0)
        ncc = np.where(deviation > 0, (product / self._total - mean * self._mean) / safe, 0.0)
        a = np.where(deviation > 0, self._share / (self._total * safe), 0.0)
        b = a * ncc * self._deviation / np.sqrt(np.where(variance > 0, variance, 1.0))
        towards, away, constant = self._spread(np.stack([a, b, b * mean - a * self._mean]))
        derivative = self._weight * (self._xray * towards - image * away + constant)
        return float((self._share * ncc).sum()), derivative

    def _sums(self, stack: np.ndarray) -> np.ndarray:
        """Sums [k, ...] over each patch of images [k, rows, columns]."""
        if self._patch is None:
            return stack.sum(axis=(1, 2))[:, None, None]
        return _box_sums(stack, self._patch)

    def _spread(self, stack: np.ndarray) -> np.ndarray:
        """Sums [k, rows, columns] over the patches that hold a pixel: the transpose of :meth:`_sums`."""
        if self._patch is None:
            return np.broadcast_to(stack, (len(stack), *self._xray.shape))
        margin = self._patch - 1
        return _box_sums(np.pad(stack, [(0, 0), (margin, margin), (margin, margin)]), self._patch)


class GradientNCC:
    """Mean of the NCC of the horizontal and the vertical Sobel derivative, see :class:`DenseNCC` (G. Penney et
    al., IEEE TMI 17, 1998, take the whole image; xvr patches)."""

    def __init__(self, xray: np.ndarray, pixel_weight: np.ndarray, patch: int | None = None) -> None:
        # The derivative at the border is that of the zeros beyond it, not of the image.
        weight = np.zeros(np.shape(pixel_weight))
        weight[1:-1, 1:-1] = pixel_weight[1:-1, 1:-1]
        image = np.asarray(xray, dtype=np.float64)
        self._channels = [DenseNCC(_sobel(image, axis), weight, patch) for axis in (0, 1)]

    def __call__(self, drr: np.ndarray) -> tuple[float, np.ndarray]:
        image = np.asarray(drr, dtype=np.float64)
        value, derivative = 0.0, np.zeros(image.shape)
        for axis, measure in enumerate(self._channels):
            part, by_edge = measure(_sobel(image, axis))
            value += 0.5 * part
            derivative -= 0.5 * _sobel(by_edge, axis)  # a Sobel filter is minus its own transpose
        return value, derivative


def _sobel(image: np.ndarray, axis: int) -> np.ndarray:
    return ndimage.sobel(image, axis, mode="constant")


class Mixture:
    """Weighted sum of similarities."""

    def __init__(self, parts: Sequence[tuple[float, ImageSimilarity]]) -> None:
        self._parts = tuple(parts)

    def __call__(self, drr: np.ndarray) -> tuple[float, np.ndarray]:
        value, derivative = 0.0, np.zeros(np.shape(drr))
        for share, measure in self._parts:
            part, by_pixel = measure(drr)
            value += share * part
            derivative += share * by_pixel
        return value, derivative


def multiscale_ncc(xray: np.ndarray, pixel_weight: np.ndarray, patch: int) -> Mixture:
    """Half global NCC, half NCC over patches of ``patch`` pixels: the mNCC of DiffPose and xvr."""
    return Mixture([(0.5, DenseNCC(xray, pixel_weight)), (0.5, DenseNCC(xray, pixel_weight, patch))])
