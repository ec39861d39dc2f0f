"""One ray through the grid, as a plain function: what every compiled marcher computes.

Two quadratures of the same trilinear field (zero at the grid's border, see ``grid``):

*Trilinear march*: samples at ``t = (n + 1/2) dt`` counted from the source, a fixed distance apart. They move
rigidly with the camera, so the derivative of the sampled sum is the sum of the field's derivatives.

*Joseph's method* (P. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans. Med.
Imaging 1, 1982): samples where the ray crosses the grid planes of the axis along which it runs fastest, where the
interpolation is bilinear. Half the memory traffic a sample, one sample a voxel, and no samples that move along
the ray with the camera: noise gives the sum no ripple in depth, which a trilinear march needs steps below half a
voxel for.

Per ray both take two sums beside the value,

    G = sum g,    H = sum t g          (g: change of a sample's value with its displacement)

and with the source s, the ray direction d (source to detector) and the isocentre c, a twist (omega, v) of the
camera changes the line integral by

    dI/dv = w G,       dI/domega = w ((s - c) x G + d x H),        w: length of a step,

since a point ``s + t d`` of the ray moves by ``omega x (s + t d - c) + v``. For the trilinear march g is the field's
gradient. For Joseph's method with the fastest axis z, a sample stays on its plane: g = (f_x, f_y, -(d_x f_x + d_y
f_y) / d_z), and the step's length |d| / |d_z| changes with d too, which adds -sum f / d_z to the z of H.

``ray`` and what it calls hold neither tables nor threads: ``march_cuda`` compiles the same source for the GPU, and
``ray_lanes`` writes Joseph's method down once more, for sixteen rays at a time on the CPU.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

TRILINEAR, JOSEPH = 0, 1

EDGE = 1e-3  # voxels; keeps float32 sample positions inside the border

_inlined = njit(inline="always", fastmath=True, error_model="numpy", boundscheck=False)
_function = njit(fastmath=True, error_model="numpy", boundscheck=False)


@intrinsic
def two_counts(typing_context, values, at):
    """The 16-bit counts at ``at`` (low half) and ``at + 1`` (high half) in one 32-bit load."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        first = builder.gep(array.data, [arguments[1]], inbounds=True)
        load = builder.load(builder.bitcast(first, ir.IntType(32).as_pointer()))
        load.align = 2
        return load

    return types.uint32(values, at), generate


@_inlined
def pair(values, at):
    """The samples at ``at`` and ``at + 1``, neighbours along the first axis."""
    both = two_counts(values, at)  # type: ignore[call-arg,var-annotated] # numba gives the typing context
    # Through int32, whose conversion to float is one instruction.
    return np.float32(np.int32(both & np.uint32(0xFFFF))), np.float32(np.int32(np.uint32(both >> np.uint32(16))))


@_inlined
def clip(origin, direction, extent, low, high):
    """Part [low, high] of a ray for which ``origin + t direction`` lies in [EDGE, extent - 1 - EDGE]."""
    if abs(direction) < 1e-12:
        if origin < EDGE or origin > extent - 1 - EDGE:
            return 1.0, 0.0
        return low, high
    a = (EDGE - origin) / direction
    b = (extent - 1 - EDGE - origin) / direction
    return max(low, min(a, b)), min(high, max(a, b))


@_function
def trilinear(values, stride_y, stride_z, x0, y0, z0, sx, sy, sz, count, gradient):
    """Sums over ``count`` samples at ``(x0, y0, z0) + n (sx, sy, sz)``: value, gradient (3), n times gradient (3).

    The gradient's six are left out (zero) where ``gradient`` is None, which is decided when this is compiled.
    """
    stride_y, stride_z = np.int32(stride_y), np.int32(stride_z)
    zero = np.float32(0)
    total, gx, gy, gz, hx, hy, hz = zero, zero, zero, zero, zero, zero, zero
    for n in range(count):
        step = np.float32(np.int32(n))
        x, y, z = x0 + step * sx, y0 + step * sy, z0 + step * sz
        ix, iy, iz = np.int32(x), np.int32(y), np.int32(z)
        fx, fy, fz = x - np.float32(ix), y - np.float32(iy), z - np.float32(iz)
        at = np.int64(np.int32(np.int32(iz * stride_z) + np.int32(iy * stride_y)) + ix)
        v000, v001 = pair(values, at)
        v010, v011 = pair(values, at + np.int64(stride_y))
        v100, v101 = pair(values, at + np.int64(stride_z))
        v110, v111 = pair(values, at + np.int64(stride_z) + np.int64(stride_y))
        e00, e01, e10, e11 = v001 - v000, v011 - v010, v101 - v100, v111 - v110
        c00, c10 = v000 + fx * e00, v100 + fx * e10
        q0, q1 = v010 + fx * e01 - c00, v110 + fx * e11 - c10
        below = c00 + fy * q0
        along_z = c10 + fy * q1 - below
        total += below + fz * along_z
        if gradient is not None:
            a0 = e00 + fy * (e01 - e00)
            along_x = a0 + fz * (e10 + fy * (e11 - e10) - a0)
            along_y = q0 + fz * (q1 - q0)
            gx += along_x
            gy += along_y
            gz += along_z
            hx += step * along_x
            hy += step * along_y
            hz += step * along_z
    return total, gx, gy, gz, hx, hy, hz


@_function
def bilinear(values, stride_v, stride_w, base, u0, v0, su, sv, count, gradient):
    """Sums over ``count`` planes, the first at ``base`` in ``values``, crossed at ``(u0, v0) + n (su, sv)``: value,
    gradient (2), n times gradient (2). The first axis lies in the planes. ``gradient`` as in ``trilinear``."""
    stride_v, stride_w = np.int32(stride_v), np.int32(stride_w)
    zero = np.float32(0)
    total, gu, gv, hu, hv = zero, zero, zero, zero, zero
    for n in range(count):
        plane = np.int32(n)
        step = np.float32(plane)
        u, v = u0 + step * su, v0 + step * sv
        iu, iv = np.int32(u), np.int32(v)
        fu, fv = u - np.float32(iu), v - np.float32(iv)
        at = base + np.int64(np.int32(np.int32(plane * stride_w) + np.int32(iv * stride_v)) + iu)
        v00, v01 = pair(values, at)
        v10, v11 = pair(values, at + np.int64(stride_v))
        e0, e1 = v01 - v00, v11 - v10
        c0 = v00 + fu * e0
        along_v = v10 + fu * e1 - c0
        total += c0 + fv * along_v
        if gradient is not None:
            along_u = e0 + fv * (e1 - e0)
            gu += along_u
            gv += along_v
            hu += step * along_u
            hv += step * along_v
    return total, gu, gv, hu, hv


@_inlined
def planes(w_origin, w_direction, low, high):
    """Number of the first grid plane that the part [low, high] of a ray crosses, and how many it crosses."""
    a, b = w_origin + low * w_direction, w_origin + high * w_direction
    first = np.int64(math.ceil(min(a, b)))  # CUDA's ceil gives a float
    return first, np.int64(math.floor(max(a, b))) - first + 1


@_function
def line(values, sy, sz, nx, ny, nz, ox, oy, oz, dx, dy, dz, length, method, step_mm, gradient):
    """Along the ray ``(ox, oy, oz) + t (dx, dy, dz)``, t from 0 to 1: the sum (counts times mm), G (3), H (3), all
    times the length of a step; in grid axes. ``length`` is that of the direction in mm, ``sy`` and ``sz`` are the
    distances of neighbours along y and z in ``values``."""
    low, high = clip(ox, dx, nx, 0.0, 1.0)
    low, high = clip(oy, dy, ny, low, high)
    low, high = clip(oz, dz, nz, low, high)
    if not low < high:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    ax, ay, az = abs(dx), abs(dy), abs(dz)
    if method == JOSEPH and ax < max(ay, az):
        # u is the first axis, w the fastest one, v the remaining one.
        if az >= ay:
            v_origin, v_direction, v_stride, w_origin, w_direction, w_stride = oy, dy, sy, oz, dz, sz
        else:
            v_origin, v_direction, v_stride, w_origin, w_direction, w_stride = oz, dz, sz, oy, dy, sy
        first, count = planes(w_origin, w_direction, low, high)
        t_first, dt = (first - w_origin) / w_direction, 1.0 / w_direction
        total, gu, gv, hu, hv = bilinear(
            values,
            v_stride,
            w_stride,
            first * w_stride,
            np.float32(ox + t_first * dx),
            np.float32(v_origin + t_first * v_direction),
            np.float32(dt * dx),
            np.float32(dt * v_direction),
            count,
            gradient,
        )
        weight = length * abs(dt)
        value = weight * total
        if gradient is None:
            return value, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        gu, gv = weight * gu, weight * gv
        hu, hv = t_first * gu + dt * weight * hu, t_first * gv + dt * weight * hv
        gw = -(dx * gu + v_direction * gv) * dt
        hw = -(dx * hu + v_direction * hv + value) * dt
        if az >= ay:
            return value, gu, gv, gw, hu, hv, hw
        return value, gu, gw, gv, hu, hw, hv
    if method == JOSEPH:
        # The planes are those of the first axis, along which pairs are loaded: sampled trilinearly, on the planes.
        first, count = planes(ox, dx, low, high)
        dt = 1.0 / dx
        t_first = (first - ox) * dt
    else:
        dt = step_mm / length
        start = np.int64(math.ceil(low / dt - 0.5))
        count = np.int64(math.floor(high / dt - 0.5)) - start + 1
        t_first = (start + 0.5) * dt
    total, gx, gy, gz, hx, hy, hz = trilinear(
        values,
        sy,
        sz,
        np.float32(ox + t_first * dx),
        np.float32(oy + t_first * dy),
        np.float32(oz + t_first * dz),
        np.float32(dt * dx),
        np.float32(dt * dy),
        np.float32(dt * dz),
        count,
        gradient,
    )
    weight = length * abs(dt)
    value = weight * total
    if gradient is None:
        return value, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    gx, gy, gz = weight * gx, weight * gy, weight * gz
    dt_weight = dt * weight
    hx, hy, hz = t_first * gx + dt_weight * hx, t_first * gy + dt_weight * hy, t_first * gz + dt_weight * hz
    if method == JOSEPH:
        gx = -(dy * gy + dz * gz) * dt
        hx = -(dy * hy + dz * hz + value) * dt
    return value, gx, gy, gz, hx, hy, hz


@_inlined
def to_twist(scale, linear, origin_ras, m, isocentre, rx, ry, rz, gx, gy, gz, hx, hy, hz, derivative):
    """From G and H in grid axes to the derivatives [6] with respect to the twist, which lives in RAS; the ray's
    direction in RAS is (rx, ry, rz)."""
    # Gradients go with the transposed matrix.
    ax = scale * (linear[0, 0] * gx + linear[1, 0] * gy + linear[2, 0] * gz)
    ay = scale * (linear[0, 1] * gx + linear[1, 1] * gy + linear[2, 1] * gz)
    az = scale * (linear[0, 2] * gx + linear[1, 2] * gy + linear[2, 2] * gz)
    bx = scale * (linear[0, 0] * hx + linear[1, 0] * hy + linear[2, 0] * hz)
    by = scale * (linear[0, 1] * hx + linear[1, 1] * hy + linear[2, 1] * hz)
    bz = scale * (linear[0, 2] * hx + linear[1, 2] * hy + linear[2, 2] * hz)
    sx = origin_ras[m, 0] - isocentre[0]
    sy = origin_ras[m, 1] - isocentre[1]
    sz = origin_ras[m, 2] - isocentre[2]
    derivative[0] = sy * az - sz * ay + ry * bz - rz * by
    derivative[1] = sz * ax - sx * az + rz * bx - rx * bz
    derivative[2] = sx * ay - sy * ax + rx * by - ry * bx
    derivative[3] = ax
    derivative[4] = ay
    derivative[5] = az


@_function
def ray(grid, rays, m, column, row, method, step_mm, isocentre, derivative):
    """Line integral of the ray through (column, row) of image m; its six derivatives go into ``derivative`` [6] if
    that is not None. ``grid``: see ``AttenuationGrid.for_kernels``."""
    values, layout, scale, linear = grid
    origin, first, per_column, per_row, origin_ras, first_ras, per_column_ras, per_row_ras = rays
    rx = first_ras[m, 0] + column * per_column_ras[m, 0] + row * per_row_ras[m, 0]
    ry = first_ras[m, 1] + column * per_column_ras[m, 1] + row * per_row_ras[m, 1]
    rz = first_ras[m, 2] + column * per_column_ras[m, 2] + row * per_row_ras[m, 2]
    value, gx, gy, gz, hx, hy, hz = line(
        values,
        layout[0],
        layout[1],
        layout[2],
        layout[3],
        layout[4],
        origin[m, 0],
        origin[m, 1],
        origin[m, 2],
        first[m, 0] + column * per_column[m, 0] + row * per_row[m, 0],
        first[m, 1] + column * per_column[m, 1] + row * per_row[m, 1],
        first[m, 2] + column * per_column[m, 2] + row * per_row[m, 2],
        math.sqrt(rx * rx + ry * ry + rz * rz),
        method,
        step_mm,
        derivative,
    )
    if derivative is not None:
        to_twist(scale, linear, origin_ras, m, isocentre, rx, ry, rz, gx, gy, gz, hx, hy, hz, derivative)
    return scale * value
