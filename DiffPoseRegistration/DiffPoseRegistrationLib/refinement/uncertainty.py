"""How far a refined pose is to be trusted.

The objective is a sum of squares, ``1 - NCC = 1/2 |u - v|^2`` per window, so the usual covariance of a
least-squares estimate holds: with the Gauss-Newton matrix A of the mean over windows, the residual cost c
at the minimum and N independent pieces of image,

    C = k^2 (2 c / N) A^-1.

What is left of the residual is mostly not noise but model error (another beam, soft tissue that moved), which
is smooth; N therefore counts patches, not pixels, and k is calibrated on X-rays with known pose
(``scripts/benchmark refine`` compares predicted and true errors).
"""

from __future__ import annotations

import numpy as np

from ..geometry import rigid

PATCH_PIXELS = 64.0  # pixels of the finest scale that count as one independent piece
CALIBRATION = 2.0  # k: median of true over predicted error on the calibration trials becomes one


def least_squares_covariance(cost: float, normal: np.ndarray, pixels: float) -> np.ndarray:
    """Covariance [6, 6] of the twist about the isocentre (rad, mm) from the residual ``cost`` = 1 - NCC,
    the Gauss-Newton matrix ``normal`` [6, 6] and the number of ``pixels`` that show the CT."""
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-30))
    # A ridge far below any real curvature keeps a blind direction finite: very uncertain, not infinite.
    inverse = np.linalg.inv(normal / np.outer(scale, scale) + 1e-9 * np.eye(6)) / np.outer(scale, scale)
    return CALIBRATION**2 * 2 * max(cost, 0.0) / max(pixels / PATCH_PIXELS, 1.0) * inverse


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
