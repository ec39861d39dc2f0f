"""The compiled CPU marcher: loops over the pixels of a batch of images, and its entry.

Where the processor can gather, Joseph's method takes the pixels in bundles of ``ray_lanes.LANES`` neighbours, along
the image direction that runs most along the rows of the volume. What a bundle cannot do (rays of different fastest
axes in it, or along the rows of the volume), and the trilinear march, goes ray by ray.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from .launching import launching
from .ray_lanes import GATHERS, LANES, bilinear_lanes
from .rays import RayBundle
from .single_ray import JOSEPH, clip, planes, ray, to_twist

_TILE = 8  # bundles side by side, which read neighbouring voxels: what a tile reads stays in the nearer caches

_NS_A_PLANE = 1.2  # of a ray, on one core

_function = njit(fastmath=True, error_model="numpy", boundscheck=False)
_parallel = njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False, cache=True)


@_function
def _bundle(grid, rays, m, used, isocentre, scratch, jacobian):
    """Joseph's method for the ``used`` first pixels of ``scratch``; False if it has to go ray by ray.
    Arguments and results as for ``_march``."""
    values, layout, scale, linear = grid
    origin, first, per_column, per_row, origin_ras, first_ras, per_column_ras, per_row_ras = rays
    pixels, directions, ranges, start, window, sums, image, derivatives = scratch
    ox, oy, oz = origin[m, 0], origin[m, 1], origin[m, 2]
    nx, ny, nz = layout[2], layout[3], layout[4]
    along_z, along_y = 0, 0
    for lane in range(used):
        column, row = pixels[0, lane], pixels[1, lane]
        dx = first[m, 0] + column * per_column[m, 0] + row * per_row[m, 0]
        dy = first[m, 1] + column * per_column[m, 1] + row * per_row[m, 1]
        dz = first[m, 2] + column * per_column[m, 2] + row * per_row[m, 2]
        low, high = clip(ox, dx, nx, 0.0, 1.0)
        low, high = clip(oy, dy, ny, low, high)
        low, high = clip(oz, dz, nz, low, high)
        directions[0, lane], directions[1, lane], directions[2, lane] = dx, dy, dz
        ranges[0, lane], ranges[1, lane] = low, high
        ax, ay, az = abs(dx), abs(dy), abs(dz)
        if ax < max(ay, az):
            if az >= ay:
                along_z += 1
            else:
                along_y += 1
    if along_z != used and along_y != used:
        return False
    # u is the first axis, w the fastest one, v the remaining one.
    if along_z:
        v, w, v_stride, w_stride = 1, 2, layout[0], layout[1]
    else:
        v, w, v_stride, w_stride = 2, 1, layout[1], layout[0]
    v_origin, w_origin = origin[m, v], origin[m, w]
    begin, end = np.int64(2**31), np.int64(-(2**31))
    for lane in range(used):
        window[0, lane], window[1, lane] = 0, 0
        if ranges[0, lane] < ranges[1, lane]:
            plane, count = planes(w_origin, directions[w, lane], ranges[0, lane], ranges[1, lane])
            if count > 0:
                begin, end = min(begin, plane), max(end, plane + count)
                window[0, lane], window[1, lane] = plane, count
    for lane in range(used, LANES):
        window[0, lane], window[1, lane] = 0, 0
    if begin >= end:
        for lane in range(used):
            image[lane] = 0.0
            if jacobian is not None:
                for k in range(6):
                    derivatives[lane, k] = 0.0
        return True
    for lane in range(used):
        dt = 1.0 / directions[w, lane]
        t = (begin - w_origin) * dt
        window[0, lane] -= begin
        start[0, lane] = ox + t * directions[0, lane]
        start[1, lane] = dt * directions[0, lane]
        start[2, lane] = v_origin + t * directions[v, lane]
        start[3, lane] = dt * directions[v, lane]
    span = np.int32(end - begin)
    bilinear_lanes(  # type: ignore[call-arg] # numba gives the typing context
        values, begin * w_stride, np.int32(v_stride), w_stride, span, start, window, sums, jacobian
    )
    for lane in range(used):
        column, row = pixels[0, lane], pixels[1, lane]
        rx = first_ras[m, 0] + column * per_column_ras[m, 0] + row * per_row_ras[m, 0]
        ry = first_ras[m, 1] + column * per_column_ras[m, 1] + row * per_row_ras[m, 1]
        rz = first_ras[m, 2] + column * per_column_ras[m, 2] + row * per_row_ras[m, 2]
        dt = 1.0 / directions[w, lane]
        weight = math.sqrt(rx * rx + ry * ry + rz * rz) * abs(dt)
        value = weight * sums[0, lane]
        image[lane] = scale * value
        if jacobian is not None:
            t = (begin - w_origin) * dt
            gu, gv = weight * sums[1, lane], weight * sums[2, lane]
            hu, hv = t * gu + dt * weight * sums[3, lane], t * gv + dt * weight * sums[4, lane]
            gw = -(directions[0, lane] * gu + directions[v, lane] * gv) * dt
            hw = -(directions[0, lane] * hu + directions[v, lane] * hv + value) * dt
            gy, gz, hy, hz = (gv, gw, hv, hw) if along_z else (gw, gv, hw, hv)
            to_twist(scale, linear, origin_ras, m, isocentre, rx, ry, rz, gu, gy, gz, hu, hy, hz, derivatives[lane])
    return True


@_function
def _scratch():
    """Where a bundle keeps what it works with: pixels, directions, ranges, start, window, sums (see ``_bundle``);
    and its results: values, derivatives."""
    return (
        np.empty((2, LANES), np.float64),
        np.empty((3, LANES), np.float64),
        np.empty((2, LANES), np.float64),
        np.empty((4, LANES), np.float32),
        np.empty((2, LANES), np.int32),
        np.empty((5, LANES), np.float32),
        np.empty(LANES, np.float32),
        np.empty((LANES, 6), np.float32),
    )


@_function
def _march(grid, rays, m, used, method, step_mm, isocentre, scratch, jacobian):
    """Line integrals and, if ``jacobian`` is not None, derivatives at the ``used`` first pixels of ``scratch`` into
    its last two parts, as a bundle if that can be, else ray by ray."""
    if GATHERS and method == JOSEPH and _bundle(grid, rays, m, used, isocentre, scratch, jacobian):
        return
    pixels, values, derivatives = scratch[0], scratch[-2], scratch[-1]
    for lane in range(used):
        column, row = pixels[0, lane], pixels[1, lane]
        if jacobian is None:
            values[lane] = ray(grid, rays, m, column, row, method, step_mm, isocentre, None)
        else:
            values[lane] = ray(grid, rays, m, column, row, method, step_mm, isocentre, derivatives[lane])


@_parallel
def _images(grid, rays, method, step_mm, isocentre, threads, image, jacobian):
    count, rows, columns = image.shape
    per_column, per_row = rays[2], rays[3]
    # Bundles go down the image if that is where the rows of the volume go.
    down = abs(per_row[0, 0]) >= abs(per_column[0, 0])
    length, width = (rows, columns) if down else (columns, rows)
    across = (width + _TILE - 1) // _TILE
    per_image = ((length + LANES - 1) // LANES) * across
    tiles = count * per_image
    # Each thread gets a contiguous part of the loop; dealing the tiles out in turn gives all of them as much body.
    share = (tiles + threads - 1) // threads
    for n in prange(share * threads):
        tile = (n % share) * threads + n // share
        if tile < tiles:
            m, place = tile // per_image, tile % per_image
            begin, side = (place // across) * LANES, (place % across) * _TILE
            used = min(LANES, length - begin)
            scratch = _scratch()
            for s in range(side, min(side + _TILE, width)):
                for lane in range(used):
                    scratch[0][0, lane] = s if down else begin + lane
                    scratch[0][1, lane] = begin + lane if down else s
                _march(grid, rays, m, used, method, step_mm, isocentre, scratch, jacobian)
                for lane in range(used):
                    r, c = (begin + lane, s) if down else (s, begin + lane)
                    image[m, r, c] = scratch[-2][lane]
                    if jacobian is not None:
                        for k in range(6):
                            jacobian[m, r, c, k] = scratch[-1][lane, k]


@_parallel
def _pixels(grid, rays, pixels, method, step_mm, isocentre, image, jacobian):
    count, points = image.shape
    per_image = (points + LANES - 1) // LANES
    for n in prange(count * per_image):
        m, begin = n // per_image, (n % per_image) * LANES
        used = min(LANES, points - begin)
        scratch = _scratch()
        for lane in range(used):
            scratch[0][0, lane], scratch[0][1, lane] = pixels[begin + lane, 0], pixels[begin + lane, 1]
        _march(grid, rays, m, used, method, step_mm, isocentre, scratch, jacobian)
        for lane in range(used):
            image[m, begin + lane] = scratch[-2][lane]
            if jacobian is not None:
                for k in range(6):
                    jacobian[m, begin + lane, k] = scratch[-1][lane, k]


def march_images(
    grid: tuple[Any, ...],
    rays: RayBundle,
    shape: tuple[int, int],
    method: int,
    step_mm: float,
    isocentre: np.ndarray | None = None,
    pixels: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Line integrals [n, rows, columns] and, if ``isocentre`` [3] is given, their derivatives
    [n, rows, columns, 6] with respect to the twist (omega [rad], v [mm]) of the camera about it; float32.

    ``grid`` is an ``AttenuationGrid``'s ``for_kernels``; ``method`` is TRILINEAR, with samples ``step_mm`` apart, or
    JOSEPH. With ``pixels`` [p, 2] = (column, row) only those are rendered: [n, p] and [n, p, 6].
    """
    count = rays.origin.shape[0]
    image = np.empty((count, *shape) if pixels is None else (count, len(pixels)), np.float32)
    jacobian = None if isocentre is None else np.empty((*image.shape, 6), np.float32)
    centre = np.zeros(3) if isocentre is None else np.array(isocentre, dtype=np.float64)
    work_ns = image.size * _NS_A_PLANE * max(grid[1][2:])
    with launching(work_ns) as threads:
        if pixels is None:
            _images(grid, tuple(rays), method, float(step_mm), centre, threads, image, jacobian)
        else:
            pixels = np.ascontiguousarray(pixels, dtype=np.float64)
            _pixels(grid, tuple(rays), pixels, method, float(step_mm), centre, image, jacobian)
    return image, jacobian
