"""The readable torch renderer that the compiled ones are judged by.

It samples the same field at the same places, without clipping, tiles or hand-written derivatives: positions of all
samples of all rays, one trilinear look-up, one sum. Differentiable in the camera's twist and in the volume, on any
device, in float32 or float64. It holds every sample in memory, so it is for small images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry.camera import Camera
from .grid import AttenuationGrid


def rays_of(
    camera: Camera, pose: np.ndarray, twist: Tensor, isocentre: np.ndarray, pixels: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """Source [3] and directions [p, 3] (source to detector, mm, RAS) of all pixels, row by row, or of ``pixels``
    [p, 2] = (column, row), for the camera at ``pose`` [4, 4] moved by ``twist`` [6] = (omega [rad], v [mm]) about
    ``isocentre`` [3]. In the twist's precision and on its device."""
    if pixels is None:
        row, column = np.mgrid[: camera.rows, : camera.columns]
        pixels = np.stack([column.ravel(), row.ravel()], axis=1)
    where: dict[str, Any] = {"dtype": twist.dtype, "device": twist.device}
    in_camera = torch.as_tensor(camera.pixels_to_camera(pixels), **where)
    still, centre = torch.as_tensor(pose, **where), torch.as_tensor(np.asarray(isocentre), **where)
    x, y, z = twist[:3]
    zero = torch.zeros_like(x)
    omega = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
    generator = torch.cat([torch.cat([omega, twist[3:, None]], dim=1), torch.zeros(1, 4, **where)])
    motion = torch.linalg.matrix_exp(generator)
    rotation = motion[:3, :3]
    source = rotation @ (still[:3, 3] - centre) + motion[:3, 3] + centre
    return source, in_camera @ (rotation @ still[:3, :3]).T


def trilinear(volume: Tensor, points: Tensor) -> Tensor:
    """Values [...] of ``volume`` [k, j, i] at ``points`` [..., 3] = (i, j, k), zero outside."""
    low = torch.floor(points.detach())
    fraction = points - low
    size = torch.tensor(volume.shape[::-1], device=volume.device)
    total = torch.zeros_like(points[..., 0])
    for corner in range(8):
        offset = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=volume.device)
        index = low.long() + offset
        inside = ((index >= 0) & (index < size)).all(dim=-1)
        i, j, k = torch.where(inside[..., None], index, 0).unbind(-1)
        weight = torch.where(offset == 1, fraction, 1 - fraction).prod(dim=-1)
        total = total + torch.where(inside, weight * volume[k, j, i], 0)
    return total


def line_integrals(
    volume: Tensor,
    ras_to_grid: np.ndarray,
    source: Tensor,
    directions: Tensor,
    step_mm: float | None = None,
) -> Tensor:
    """Integrals [p] of ``volume`` [k, j, i] (1/mm) along the rays from ``source`` [3] along ``directions`` [p, 3] (to
    the detector; mm, RAS).

    With ``step_mm``: samples at ``(n + 1/2) step_mm`` from the source. Without: Joseph's method, samples where the
    ray crosses the grid planes of the axis along which it runs fastest.
    """
    affine = torch.as_tensor(ras_to_grid, dtype=source.dtype, device=source.device)
    origin = affine[:3, :3] @ source + affine[:3, 3]
    along = directions @ affine[:3, :3].T
    length = torch.linalg.norm(directions, dim=-1)
    if step_mm is not None:
        count = int(length.max().item() / step_mm) + 1
        t = (torch.arange(count, dtype=source.dtype, device=source.device) + 0.5) * step_mm / length[:, None]
        samples = trilinear(volume, origin + t[..., None] * along[:, None])
        return step_mm * torch.where(t < 1, samples, 0).sum(dim=-1)
    fastest = along.detach().abs().argmax(dim=-1)
    speed = along.gather(1, fastest[:, None])
    planes = torch.arange(max(volume.shape), dtype=source.dtype, device=source.device)
    t = (planes - origin[fastest][:, None]) / speed
    points = origin + t[..., None] * along[:, None]
    # On its plane a sample's coordinate is a whole number, whatever rounding says.
    on_plane = torch.nn.functional.one_hot(fastest, 3).bool()[:, None]
    samples = trilinear(volume, torch.where(on_plane, planes[None, :, None], points))
    return length / speed[:, 0].abs() * torch.where((t > 0) & (t < 1), samples, 0).sum(dim=-1)


def render(
    grid: AttenuationGrid,
    camera: Camera,
    pose: np.ndarray,
    isocentre: np.ndarray,
    twist: Tensor | None = None,
    step_mm: float | None = None,
    pixels: np.ndarray | None = None,
) -> Tensor:
    """Line integrals [rows, columns], or [p] of ``pixels`` [p, 2], at ``pose`` [4, 4] moved by ``twist`` [6] (default:
    zero, float64) about ``isocentre`` [3]; differentiable in the twist. ``step_mm`` as in :func:`line_integrals`."""
    if twist is None:
        twist = torch.zeros(6, dtype=torch.float64)
    volume = torch.as_tensor(grid.values.astype(np.float64) * grid.scale, dtype=twist.dtype, device=twist.device)
    source, directions = rays_of(camera, pose, twist, isocentre, pixels)
    image = line_integrals(volume, grid.ras_to_grid, source, directions, step_mm)
    return image.reshape(camera.rows, camera.columns) if pixels is None else image


def render_with_jacobian(
    grid: AttenuationGrid,
    camera: Camera,
    pose: np.ndarray,
    isocentre: np.ndarray,
    step_mm: float | None = None,
    pixels: np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`render`, with the derivatives [..., 6] with respect to the twist, by forward-mode differentiation."""
    zero = torch.zeros(6, dtype=torch.float64)

    def image(twist: Tensor) -> Tensor:
        return render(grid, camera, pose, isocentre, twist, step_mm, pixels)

    return image(zero), torch.func.jacfwd(image)(zero)
