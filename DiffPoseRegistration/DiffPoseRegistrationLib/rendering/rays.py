"""Camera and poses to rays, in float64, once per image: the marchers then only add."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ..geometry.camera import Camera


class RayBundle(NamedTuple):
    """The rays of ``n`` images that share a camera.

    The ray of pixel (column c, row r) of image m runs from ``origin[m]`` (parameter t = 0, the source)
    along ``first[m] + c * per_column[m] + r * per_row[m]`` (t = 1, the detector), in grid indices.
    ``*_ras`` are the same in RAS mm, for lengths and moments.
    """

    origin: np.ndarray
    first: np.ndarray
    per_column: np.ndarray
    per_row: np.ndarray
    origin_ras: np.ndarray
    first_ras: np.ndarray
    per_column_ras: np.ndarray
    per_row_ras: np.ndarray


def ray_bundle(
    camera: Camera, poses: np.ndarray, ras_to_grid: np.ndarray, zooms: np.ndarray | None = None
) -> RayBundle:
    """Rays of ``camera`` at ``poses`` [n, 4, 4] (camera to world), in the grid of ``ras_to_grid`` [4, 4]; with
    ``zooms`` [n] those of ``camera.zoomed(zoom)`` for each pose."""
    poses = np.asarray(poses, dtype=np.float64)
    corner, column, row = _detector(camera)
    rotation, origin_ras = poses[:, :3, :3], poses[:, :3, 3]
    if zooms is not None:
        shrunk = np.stack([1 / zooms, 1 / zooms, np.ones_like(zooms)], axis=-1)
        rotation = rotation * shrunk[:, None]
    first_ras, column_ras, row_ras = (np.ascontiguousarray(rotation @ vector) for vector in (corner, column, row))
    linear = ras_to_grid[:3, :3]
    first, per_column, per_row = (np.ascontiguousarray(v @ linear.T) for v in (first_ras, column_ras, row_ras))
    return RayBundle(
        origin=origin_ras @ linear.T + ras_to_grid[:3, 3],
        first=first,
        per_column=per_column,
        per_row=per_row,
        origin_ras=np.ascontiguousarray(origin_ras),
        first_ras=first_ras,
        per_column_ras=column_ras,
        per_row_ras=row_ras,
    )


@functools.lru_cache(maxsize=64)  # a refinement renders through the same few cameras again and again
def _detector(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first pixel's centre, and the ways to the next column and row (camera frame, mm)."""
    corner, right, below = camera.pixels_to_camera(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return corner, right - corner, below - corner
