"""Exact line integrals of a volume of uniform voxels.

R. Siddon, "Fast calculation of the exact radiological path for a three-dimensional CT array", Med. Phys. 12, 1985;
walked from voxel to voxel as in J. Amanatides and A. Woo, "A fast voxel traversal algorithm for ray tracing",
Eurographics 1987. A voxel reaches half a voxel to each side of its centre. The integral is not differentiable where
a ray passes a voxel's edge, so there is no pose Jacobian.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from .launching import launching
from .rays import RayBundle


@njit(error_model="numpy", boundscheck=False)
def _entry(origin, direction, extent, low, high):
    """Part [low, high] of a ray within the voxels 0 to extent - 1 of an axis, from face to face."""
    if direction == 0.0:
        if origin < -0.5 or origin >= extent - 0.5:
            return 1.0, 0.0
        return low, high
    a, b = (-0.5 - origin) / direction, (extent - 0.5 - origin) / direction
    return max(low, min(a, b)), min(high, max(a, b))


@njit(error_model="numpy", boundscheck=False)
def _start(origin, direction, extent, low):
    """Along one axis: the voxel at ``low``, its step, the ray parameter of its far face, and that of a whole voxel."""
    voxel = min(max(math.floor(origin + low * direction + 0.5), 0), extent - 1)
    if direction > 0.0:
        return voxel, 1, (voxel + 0.5 - origin) / direction, 1.0 / direction
    if direction < 0.0:
        return voxel, -1, (voxel - 0.5 - origin) / direction, -1.0 / direction
    return voxel, 0, math.inf, math.inf


@njit(error_model="numpy", boundscheck=False)
def _integral(values, layout, ox, oy, oz, dx, dy, dz):
    """Sum of counts times ray parameter along ``(ox, oy, oz) + t (dx, dy, dz)``, t from 0 to 1."""
    low, high = _entry(ox, dx, layout[2], 0.0, 1.0)
    low, high = _entry(oy, dy, layout[3], low, high)
    low, high = _entry(oz, dz, layout[4], low, high)
    total = 0.0
    if not low < high:
        return total
    x, step_x, face_x, whole_x = _start(ox, dx, layout[2], low)
    y, step_y, face_y, whole_y = _start(oy, dy, layout[3], low)
    z, step_z, face_z, whole_z = _start(oz, dz, layout[4], low)
    t = low
    while t < high:
        leave = min(face_x, face_y, face_z, high)
        if leave > t:
            total += (leave - t) * values[z * layout[1] + y * layout[0] + x]
            t = leave
        if leave >= high:
            break
        # Through an edge or a corner, all faces that are met there are passed at once.
        if face_x <= leave:
            x += step_x
            face_x += whole_x
        if face_y <= leave:
            y += step_y
            face_y += whole_y
        if face_z <= leave:
            z += step_z
            face_z += whole_z
        if x < 0 or y < 0 or z < 0 or x >= layout[2] or y >= layout[3] or z >= layout[4]:
            break
    return total


@njit(parallel=True, nogil=True, error_model="numpy", boundscheck=False, cache=True)
def _images(grid, rays, image):
    values, layout, scale, _ = grid
    origin, first, per_column, per_row, _, first_ras, per_column_ras, per_row_ras = rays
    count, rows, columns = image.shape
    for n in prange(count * rows):
        m, r = n // rows, n % rows
        for c in range(columns):
            ray = first_ras[m] + c * per_column_ras[m] + r * per_row_ras[m]
            length = math.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
            image[m, r, c] = (
                scale
                * length
                * _integral(
                    values,
                    layout,
                    origin[m, 0],
                    origin[m, 1],
                    origin[m, 2],
                    first[m, 0] + c * per_column[m, 0] + r * per_row[m, 0],
                    first[m, 1] + c * per_column[m, 1] + r * per_row[m, 1],
                    first[m, 2] + c * per_column[m, 2] + r * per_row[m, 2],
                )
            )


def trace_images(grid: tuple[Any, ...], rays: RayBundle, shape: tuple[int, int]) -> np.ndarray:
    """Line integrals [n, rows, columns], float32, of uniform voxels; ``grid`` is an ``AttenuationGrid``'s
    ``for_kernels``."""
    image = np.empty((rays.origin.shape[0], *shape), np.float32)
    with launching():
        _images(grid, tuple(rays), image)
    return image
