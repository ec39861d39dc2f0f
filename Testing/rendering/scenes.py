"""Small volumes and cameras that the renderers' tests share."""

from __future__ import annotations

import numpy as np
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.rendering.grid import AttenuationGrid


def affine(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    mirrored: bool = False,
) -> np.ndarray:
    """ijk to RAS with the middle of the volume at the origin, turned by a rotation vector (rad), and left-handed
    if ``mirrored``."""
    linear = rigid.so3_exp(np.array(turn)) @ np.diag(spacing)
    if mirrored:
        linear[:, 0] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = -linear @ (np.array(size) - 1) / 2
    return matrix


def positions(size: tuple[int, int, int], ijk_to_ras: np.ndarray) -> np.ndarray:
    """RAS [k, j, i, 3] of the voxel centres."""
    k, j, i = np.mgrid[: size[2], : size[1], : size[0]]
    return np.stack([i, j, k], axis=-1) @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]


def smooth_volume(size: tuple[int, int, int], ijk_to_ras: np.ndarray) -> np.ndarray:
    """Attenuation [k, j, i]: three Gaussian blobs, none of them symmetric to the axes."""
    points = positions(size, ijk_to_ras)
    reach = np.abs(points).max(axis=(0, 1, 2))
    total = np.zeros(points.shape[:3])
    for centre, width, height in (
        ((0.1, -0.1, 0.05), (0.30, 0.22, 0.26), 0.02),
        ((-0.3, 0.25, -0.2), (0.16, 0.2, 0.14), 0.03),
        ((0.25, 0.3, 0.3), (0.14, 0.16, 0.2), 0.01),
    ):
        total += height * np.exp(-((((points / reach) - centre) / width) ** 2).sum(axis=-1))
    return total


def smooth_grid(size: tuple[int, int, int] = (16, 19, 22), **how) -> AttenuationGrid:
    """The smooth volume as a grid; ``how`` as in :func:`affine`."""
    ijk_to_ras = affine(size, **how)
    return AttenuationGrid.from_attenuation(smooth_volume(size, ijk_to_ras), ijk_to_ras)


def pose(
    distance_mm: float = 70.0, turn: tuple[float, float, float] = (0.31, -0.47, 0.23), shift: float = 1.3
) -> np.ndarray:
    """Camera to world [4, 4]: ``distance_mm`` from the origin, turned by a rotation vector (rad) from a camera that
    looks along +y, the origin ``shift`` mm beside its axis."""
    start = np.eye(4)
    start[:3, :3] = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    start[:3, 3] = [shift, -distance_mm, -0.7 * shift]
    return rigid.update_pose(start, np.array([*turn, 0.0, 0.0, 0.0]), np.zeros(3))


def camera(rows: int = 17, columns: int = 19, **how) -> Camera:
    """100 mm from source to detector; pixels and principal point uneven."""
    how = {"pixel_spacing_mm": (2.1, 2.3), "principal_point_px": (8.2, 9.1), **how}
    return Camera(100.0, rows, columns, **how)
