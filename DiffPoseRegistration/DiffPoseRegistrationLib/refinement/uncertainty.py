"""How far a refined pose is to be trusted.

The pose minimises a sum over many small pieces of image (windows, or blocks of a whole-image measure). At the
minimum their gradients, the *scores* g_k, cancel in the sum, but each piece alone would pull the pose its own way. How
differently they pull tells how uncertain the balance is: with the Gauss-Newton matrix A of the sum,

    C = k^2 A^-1 B A^-1,    B = sum over k, l of exp(-d_kl^2 / (2 h^2)) g_k g_l^T

is the "sandwich" covariance of an estimate whose model is not exact (P. J. Huber, Proc. 5th Berkeley Symposium, 1967;
H. White, Econometrica 48, 1980), for residuals that are alike in places as near as h (T. G. Conley, J. Econometrics 92,
1999). The textbook's ``sigma^2 A^-1`` would not do: what is left of the residual is hardly noise but model error
(another beam, scatter, soft tissue that moved), it is smooth, and where it pulls matters more than how large it is.

What pulls all pieces alike moves the pose without leaving a trace in the scores. k makes up for that; it is the one
number that is calibrated, on X-rays with known poses (Resources/benchmarks/verdict.md).
"""

from __future__ import annotations

import numpy as np

from ..geometry import rigid

CORRELATION_SHARE = 0.1  # h: residuals are alike within so much of the image's longest side
CALIBRATION = 1.7  # k: median of true over predicted error on the calibration trials becomes about one


def score_scatter(centres: np.ndarray, scores: np.ndarray, length_px: float) -> np.ndarray:
    """B [p, p] from the scores [n, p] of pieces of image at ``centres`` [n, 2] (row, column), h = ``length_px``."""
    # The pieces lie on a grid, of which some may be missing, and the weight is one of rows times one of columns.
    (rows, row), (columns, column) = (np.unique(along, return_inverse=True) for along in centres.T)
    grid = np.zeros((len(rows), len(columns), scores.shape[1]))
    np.add.at(grid, (row, column), scores)
    by_row, by_column = (np.exp(-np.square(at[:, None] - at) / (2 * length_px**2)) for at in (rows, columns))
    return np.einsum("rcp,rs,scq->pq", grid, by_row, np.einsum("cd,sdq->scq", by_column, grid), optimize=True)


def sandwich_covariance(normal: np.ndarray, scatter: np.ndarray, noise: float) -> np.ndarray:
    """Covariance [p, p] of the parameters (of a pose: the twist about the isocentre, rad and mm).

    ``normal`` [p, p] is A, ``scatter`` [p, p] B. ``noise``, the residual's mean square per independent pixel, adds
    ``noise A^-1``: it counts where the image says next to nothing, so that neither A nor B speaks.
    """
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-30))
    # A ridge far below any real curvature keeps a blind direction finite: very uncertain, not infinite.
    inverse = np.linalg.inv(normal / np.outer(scale, scale) + 1e-9 * np.eye(len(normal))) / np.outer(scale, scale)
    return CALIBRATION**2 * (inverse @ scatter @ inverse + noise * inverse)


def point_covariance(covariance: np.ndarray, points: np.ndarray, isocentre: np.ndarray) -> np.ndarray:
    """Covariances [n, 3, 3] (mm^2, RAS) of the displacement of points [n, 3] relative to the camera.

    A twist (omega, v) of the camera about the isocentre moves a point p against it by
    ``-(v + omega x (p - isocentre))``.
    """
    lever = np.asarray(points, dtype=np.float64) - isocentre
    jacobian = np.concatenate([-rigid.hat(lever), np.broadcast_to(np.eye(3), (len(lever), 3, 3))], axis=-1)
    return jacobian @ covariance @ np.swapaxes(jacobian, -1, -2)


def predicted_errors(covariance: np.ndarray, points: np.ndarray, isocentre: np.ndarray) -> np.ndarray:
    """Predicted root-mean-square error [n] (mm) of each point [n, 3] (RAS)."""
    return np.sqrt(np.trace(point_covariance(covariance, points, isocentre), axis1=-2, axis2=-1))


def weak_direction(
    covariance: np.ndarray, points: np.ndarray, isocentre: np.ndarray, pose: np.ndarray
) -> tuple[float, float, float]:
    """Predicted root-mean-square error (mm) over points [n, 3] along the camera's x, y and z (the beam)."""
    axes = pose[:3, :3]
    mean = point_covariance(covariance, points, isocentre).mean(axis=0)
    across, down, beam = np.sqrt(np.maximum(np.diag(axes.T @ mean @ axes), 0.0))
    return float(across), float(down), float(beam)
