"""The CPU's marcher compiled for an NVIDIA GPU: the same source, one thread a ray.

Imported only where CUDA is wanted; needs numba's CUDA target (``pip install numba-cuda[cu12]``).
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from . import single_ray
from .rays import RayBundle

_BLOCK = 64  # threads; neighbouring pixels, which read neighbouring voxels


def _device_function(name: str, **calls: Callable) -> Callable:
    """A function of ``single_ray`` for the GPU, calling ``calls`` where it calls functions of those names."""
    source = getattr(single_ray, name).py_func
    bound = types.FunctionType(source.__code__, {**source.__globals__, **calls}, name)
    return cuda.jit(device=True, fastmath=True)(bound)


@cuda.jit(device=True, fastmath=True)
def _pair(values, at):
    return np.float32(values[at]), np.float32(values[at + 1])


_clip, _planes, _to_twist = (_device_function(name) for name in ("clip", "planes", "to_twist"))
_trilinear, _bilinear = (_device_function(name, pair=_pair) for name in ("trilinear", "bilinear"))
_line = _device_function("line", clip=_clip, planes=_planes, trilinear=_trilinear, bilinear=_bilinear)
_ray = _device_function("ray", line=_line, to_twist=_to_twist)


@cuda.jit(fastmath=True)
def _values_kernel(grid, rays, pixels, method, step_mm, isocentre, image):
    p, m = cuda.grid(2)  # type: ignore[attr-defined]
    if p < image.shape[1]:
        image[m, p] = _ray(grid, rays, m, pixels[p, 0], pixels[p, 1], method, step_mm, isocentre, None)


@cuda.jit(fastmath=True)
def _jacobian_kernel(grid, rays, pixels, method, step_mm, isocentre, image, jacobian):
    p, m = cuda.grid(2)  # type: ignore[attr-defined]
    if p < image.shape[1]:
        image[m, p] = _ray(grid, rays, m, pixels[p, 0], pixels[p, 1], method, step_mm, isocentre, jacobian[m, p])


def march_images(
    grid: tuple[Any, ...],
    rays: RayBundle,
    shape: tuple[int, int],
    method: int,
    step_mm: float,
    isocentre: np.ndarray | None = None,
    pixels: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """As :func:`march_cpu.march_images`; the volume stays on the GPU for as long as its grid lives."""
    count = rays.origin.shape[0]
    chosen = _all_pixels(shape) if pixels is None else np.ascontiguousarray(pixels, dtype=np.float64)
    values, layout, scale, linear = grid
    on_device = (_volume(values), cuda.to_device(layout), scale, cuda.to_device(linear))
    image = cuda.device_array((count, len(chosen)), np.float32)
    centre = np.zeros(3) if isocentre is None else np.array(isocentre, dtype=np.float64)
    common = (
        on_device,
        tuple(cuda.to_device(np.ascontiguousarray(part)) for part in rays),
        cuda.to_device(chosen),
        method,
        float(step_mm),
        cuda.to_device(centre),
        image,
    )
    blocks = ((len(chosen) + _BLOCK - 1) // _BLOCK, count)
    derivatives = None
    if isocentre is None:
        _values_kernel[blocks, (_BLOCK, 1)](*common)
    else:
        jacobian = cuda.device_array((count, len(chosen), 6), np.float32)
        _jacobian_kernel[blocks, (_BLOCK, 1)](*common, jacobian)
        derivatives = jacobian.copy_to_host()
    values_out = image.copy_to_host()
    if pixels is None:
        values_out = values_out.reshape(count, *shape)
        derivatives = None if derivatives is None else derivatives.reshape(count, *shape, 6)
    return values_out, derivatives


def _all_pixels(shape: tuple[int, int]) -> np.ndarray:
    """(column, row) of every pixel, in the order of an image [rows, columns]."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    return np.stack([column.ravel(), row.ravel()], axis=1).astype(np.float64)


_held: dict[int, tuple[weakref.ref, Any]] = {}


def _volume(values: np.ndarray) -> Any:
    """``values`` on the GPU, copied once and freed with them."""
    key = id(values)
    if key not in _held:
        _held[key] = (weakref.ref(values, lambda _: _held.pop(key, None)), cuda.to_device(values))
    return _held[key][1]
