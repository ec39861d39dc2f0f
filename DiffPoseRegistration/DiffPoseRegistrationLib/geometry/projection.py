"""Cameras as projection matrices: P [3, 4] from points of a world (mm) to pixels, ``w (column, row, 1) = P (x, y, z,
1)`` with ``w > 0`` in front of the source.

Source: R. Hartley, A. Zisserman, "Multiple View Geometry", 2nd ed., 6.2.4 (decomposition by RQ).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

from ..errors import InputError
from .camera import Camera

_MOST_SKEW = 1e-3  # of the focal length


def projection_matrix(camera: Camera, world_to_camera: np.ndarray) -> np.ndarray:
    """P [3, 4] of a camera that stands at ``world_to_camera`` [4, 4]; ``w`` is the depth in mm."""
    (c0, r0), (row_mm, column_mm) = camera.principal_point_px, camera.pixel_spacing_mm
    distance = camera.source_to_detector_mm
    k = np.array([[camera.u_sign * distance / column_mm, 0, c0], [0, distance / row_mm, r0], [0, 0, 1]])
    return k @ world_to_camera[:3]


def from_projection_matrix(
    matrix: Any, rows: int, columns: int, source_to_detector_mm: float | None = None, name: str = "camera"
) -> tuple[Camera, np.ndarray]:
    """The camera of P [3, 4] and its place ``world_to_camera`` [4, 4]; an image that P mirrors is one seen from the
    detector.

    Raises
    ------
    InputError
        If P is no projection of a camera with perpendicular rows and columns.
    """
    try:
        p = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        p = np.empty(0)
    if p.shape != (3, 4) or not np.isfinite(p).all() or abs(np.linalg.det(p[:, :3])) < 1e-12:
        raise InputError(f"{name}: projection_matrix_px must be a 3x4 matrix of numbers that projects from a point.")
    k, rotation = linalg.rq(p[:, :3])
    # A decomposition is unique up to signs: focal length along rows and depth are positive, and nothing is mirrored but
    # the image.
    signs = np.array([1.0, np.sign(k[1, 1]), np.sign(k[2, 2])])
    k, rotation = k * signs, signs[:, None] * rotation
    if np.linalg.det(rotation) < 0:
        k[:, 0], rotation[0] = -k[:, 0], -rotation[0]
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = rotation
    world_to_camera[:3, 3] = np.linalg.solve(k, p[:, 3])
    side = "source" if k[0, 0] > 0 else "detector"
    k = k / k[2, 2]
    if abs(k[0, 1]) > _MOST_SKEW * abs(k[0, 0]):
        raise InputError(f"{name}: projection_matrix_px has skew; resample the image without skew first.")
    intrinsic = np.array([[abs(k[0, 0]), 0, k[0, 2]], [0, k[1, 1], k[1, 2]], [0, 0, 1]])
    return Camera.from_intrinsic_matrix(intrinsic, rows, columns, source_to_detector_mm, side, name), world_to_camera
