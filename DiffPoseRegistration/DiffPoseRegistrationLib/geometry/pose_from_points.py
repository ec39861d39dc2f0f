"""The pose from landmarks: points of the patient and where the X-ray shows them (the perspective-n-point problem).

Nothing is assumed about the pose: Levenberg-Marquardt on the distances in the image descends from many orientations at
once, each with the translation that fits it best (linear in the collinearity equations), and the best end is taken.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from . import rigid
from .camera import Camera

LEAST_POINTS = 4  # three points fit from up to four places
_ORIENTATIONS, _ITERATIONS = 96, 40
_LINE = 1e-3  # second singular value over first below which points lie on a line


def pose_from_points(points_ras: np.ndarray, pixels: np.ndarray, camera: Camera) -> tuple[np.ndarray, float]:
    """The pose [4, 4] (camera to world) from which ``points_ras`` [n, 3] (RAS, mm) are seen at ``pixels`` [n, 2]
    (column, row), and the root mean square distance in pixels that is left.

    Raises
    ------
    InputError
        If there are fewer than four pairs, they are not finite, lie on a line, or fit from nowhere in front of the
        source.
    """
    points, pixels = np.asarray(points_ras, dtype=np.float64), np.asarray(pixels, dtype=np.float64)
    if points.shape != (len(pixels), 3) or pixels.shape != (len(points), 2):
        raise InputError("Each landmark needs a point in the CT (three numbers) and its place on the X-ray (two).")
    if len(points) < LEAST_POINTS:
        raise InputError(f"There are {len(points)} landmark pairs; mark at least {LEAST_POINTS} in the CT and X-ray.")
    if not (np.isfinite(points).all() and np.isfinite(pixels).all()):
        raise InputError("A landmark is not a finite number; place it again.")
    centre = points.mean(axis=0)
    spread = np.linalg.svd(points - centre, compute_uv=False)
    if spread[1] <= _LINE * spread[0]:
        raise InputError("The landmarks lie on one line; mark some beside it.")
    starts = _starts(points - centre, pixels, camera)
    if not len(starts):
        raise InputError("The landmarks fit from nowhere; check that those in the CT and on the X-ray are the same.")
    motions, squares = _descend(starts, points - centre, pixels, camera)
    best = int(np.argmin(squares))
    world_to_camera = motions[best].copy()
    world_to_camera[:3, 3] -= world_to_camera[:3, :3] @ centre
    return rigid.inverse(world_to_camera), float(np.sqrt(squares[best] / len(points)))


def _starts(points: np.ndarray, pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """Motions [m, 4, 4] of points into the camera frame: many orientations, each with its best translation."""
    quaternions = np.random.default_rng(0).normal(size=(_ORIENTATIONS, 4))
    w, vector = quaternions[:, 0], quaternions[:, 1:]
    angle = 2 * np.arctan2(np.linalg.norm(vector, axis=1), w)
    motions = np.tile(np.eye(4), (_ORIENTATIONS, 1, 1))
    motions[:, :3, :3] = rigid.so3_exp(vector / np.linalg.norm(vector, axis=1, keepdims=True) * angle[:, None])
    rays = camera.pixels_to_camera(pixels) / camera.source_to_detector_mm
    # x - x_ray z = 0 and y - y_ray z = 0 for each point.
    rows = np.zeros((len(points), 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1.0
    rows[..., 2] = -rays[:, :2]
    turned = np.einsum("mij,nj->mni", motions[:, :3, :3], points)
    sides = -np.einsum("nrk,mnk->mnr", rows, turned).reshape(_ORIENTATIONS, -1)
    motions[:, :3, 3] = sides @ np.linalg.pinv(rows.reshape(-1, 3)).T
    in_front = (turned[..., 2] + motions[:, None, 2, 3] > 1.0).all(axis=1)
    return motions[in_front]


def _descend(
    motions: np.ndarray, points: np.ndarray, pixels: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt from every motion [m, 4, 4]; the ends and their sums of squares [m] (px)."""
    damping = np.full(len(motions), 1e-3)
    residuals, jacobian = _residuals(motions, points, pixels, camera)
    squares = _sums(residuals)
    for _iteration in range(_ITERATIONS):
        normal = np.einsum("mri,mrj->mij", jacobian, jacobian)
        gradient = np.einsum("mri,mr->mi", jacobian, residuals)
        scale = np.einsum("mii->mi", normal)
        damped = normal + (damping[:, None] * scale + 1e-9)[..., None] * np.eye(6)
        step = -np.linalg.solve(damped, gradient[..., None])[..., 0]
        moved = motions.copy()
        moved[:, :3, :3] = rigid.so3_exp(step[:, :3]) @ motions[:, :3, :3]
        moved[:, :3, 3] += step[:, 3:]
        new_residuals, new_jacobian = _residuals(moved, points, pixels, camera)
        new_squares = _sums(new_residuals)
        better = new_squares < squares
        damping = np.where(better, damping / 5, np.minimum(damping * 5, 1e9))
        motions = np.where(better[:, None, None], moved, motions)
        residuals = np.where(better[:, None], new_residuals, residuals)
        jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
        squares = np.where(better, new_squares, squares)
    return motions, squares


def _residuals(
    motions: np.ndarray, points: np.ndarray, pixels: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Distances [m, 2n] in the image and their derivatives [m, 2n, 6] with respect to a turn about the points' centre
    and a shift, both in the camera frame. Infinite where a point is not in front of the source."""
    turned = np.einsum("mij,nj->mni", motions[:, :3, :3], points)
    x, y, z = np.moveaxis(turned + motions[:, None, :3, 3], -1, 0)
    behind = (z <= 1.0).any(axis=1)
    z = np.where(z <= 1.0, 1.0, z)
    row_mm, column_mm = camera.pixel_spacing_mm
    along_x = camera.u_sign * camera.source_to_detector_mm / column_mm
    along_y = camera.source_to_detector_mm / row_mm
    c0, r0 = camera.principal_point_px
    residuals = np.stack([c0 + along_x * x / z - pixels[:, 0], r0 + along_y * y / z - pixels[:, 1]], axis=-1)
    by_point = np.zeros((*z.shape, 2, 3))
    by_point[..., 0, 0], by_point[..., 0, 2] = along_x / z, -along_x * x / z**2
    by_point[..., 1, 1], by_point[..., 1, 2] = along_y / z, -along_y * y / z**2
    jacobian = np.concatenate([-by_point @ rigid.hat(turned), by_point], axis=-1)
    residuals = np.where(behind[:, None, None], np.inf, residuals)
    return residuals.reshape(len(motions), -1), jacobian.reshape(len(motions), -1, 6)


def _sums(residuals: np.ndarray) -> np.ndarray:
    return np.einsum("mr,mr->m", residuals, residuals)
