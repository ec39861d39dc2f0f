"""Which way each piece of an image pulls the pose: the summands of the objective's gradient.

They cancel in the sum where the objective is smallest; :mod:`.uncertainty` reads the doubt off how they differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Gradients of the pieces of one image.

    centres
        [n, 2]: where the pieces are, (row, column).
    scores
        [n, p]: their shares of the cost's gradient; they add up to it.
    normal
        [p, p]: Gauss-Newton matrix of the cost.
    """

    centres: np.ndarray
    scores: np.ndarray
    normal: np.ndarray


def block_scores(
    xray: np.ndarray, pixel_weight: np.ndarray, drr: np.ndarray, jacobian: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Centres [n, 2] of the blocks of ``side`` pixels that tile an image, and their shares [n, p] of the gradient of
    ``1 - NCC`` over the whole image: with the notation of :mod:`.similarity` and pixel weights W, sums over the
    block's pixels of ``-W (u - v) dv``.

    ``xray``, ``pixel_weight`` and ``drr`` are [rows, columns], ``jacobian`` [rows, columns, p].
    """
    weight = np.asarray(pixel_weight, dtype=np.float64)
    total = weight.sum()

    def centred(values: np.ndarray) -> np.ndarray:
        return values - np.tensordot(weight, values, 2) / total

    x, i, j = (centred(np.asarray(values, dtype=np.float64)) for values in (xray, drr, jacobian))
    norm_x, norm_i = (np.sqrt((weight * values**2).sum()) for values in (x, i))
    first = [np.arange(0, length, side) for length in weight.shape]
    last = [np.minimum(start + side, length) for start, length in zip(first, weight.shape)]
    rows, columns = ((start + end - 1) / 2 for start, end in zip(first, last))
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    if not (norm_x > 0 and norm_i > 0):
        return centres, np.zeros((len(centres), jacobian.shape[-1]))
    u, v = x / norm_x, i / norm_i
    by_pose = (j - v[..., None] * np.tensordot(weight * v, j, 2)) / norm_i
    pull = -(weight * (u - v))[..., None] * by_pose
    summed = np.add.reduceat(np.add.reduceat(pull, first[0], axis=0), first[1], axis=1)
    return centres, summed.reshape(len(centres), -1)
