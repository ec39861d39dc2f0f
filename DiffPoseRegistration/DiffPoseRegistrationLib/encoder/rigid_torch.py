"""The few rigid-motion formulas that training needs, differentiable, batched; see ``geometry.rigid``."""

from __future__ import annotations

import torch
from torch import Tensor


def so3_exp(omega: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] in radians."""
    a, b, _ = _coefficients(omega)
    k = hat(omega)
    return torch.eye(3, dtype=omega.dtype, device=omega.device) + a[..., None, None] * k + b[..., None, None] * (k @ k)


def left_jacobian(omega: Tensor) -> Tensor:
    """V [..., 3, 3] of rotation vectors [..., 3]: the translation of ``se3_exp((omega, v))`` is ``V v``."""
    _, b, c = _coefficients(omega)
    k = hat(omega)
    return torch.eye(3, dtype=omega.dtype, device=omega.device) + b[..., None, None] * k + c[..., None, None] * (k @ k)


def so3_log(rotation: Tensor) -> Tensor:
    """Rotation vectors [..., 3] of rotation matrices [..., 3, 3], with a finite gradient at zero. Near half a turn the
    axis loses its accuracy, not the angle."""
    axis = vee(rotation - rotation.transpose(-1, -2)) / 2  # of length sin(angle)
    angle = rotation_angle(rotation)
    sine = torch.sin(angle).clamp_min(1e-3)
    small = angle < 1e-2
    factor = torch.where(small, 1 + angle**2 / 6, angle / torch.where(small, torch.ones_like(sine), sine))
    return axis * factor[..., None]


def se3_log(rotation: Tensor, translation: Tensor) -> Tensor:
    """Twists [..., 6] = (omega [rad], v [mm]) of rotations [..., 3, 3] with translations [..., 3] [mm]."""
    omega = so3_log(rotation)
    v = torch.linalg.solve(left_jacobian(omega), translation[..., None])[..., 0]
    return torch.cat([omega, v], -1)


def rotation_angle(relative: Tensor) -> Tensor:
    """Geodesic angle [...] in radians of rotation matrices [..., 3, 3], with a finite gradient at zero.

    Through the chord, ``|R - I|_F = 2 sqrt(2) sin(angle / 2)``, which, unlike the arc cosine of the trace,
    stays accurate and differentiable for small angles.
    """
    eye = torch.eye(3, dtype=relative.dtype, device=relative.device)
    chord = ((relative - eye) ** 2).sum((-1, -2)).clamp_min(1e-12).sqrt() / (2 * 2**0.5)
    return 2 * torch.asin(chord.clamp_max(1 - 1e-6))


def hat(omega: Tensor) -> Tensor:
    """Skew-symmetric matrices [..., 3, 3] of vectors [..., 3]: ``hat(a) @ b == cross(a, b)``."""
    zero = torch.zeros_like(omega[..., 0])
    x, y, z = omega.unbind(-1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*omega.shape[:-1], 3, 3)


def vee(matrix: Tensor) -> Tensor:
    """Vectors [..., 3] of skew-symmetric matrices [..., 3, 3]; the inverse of :func:`hat`."""
    return torch.stack([matrix[..., 2, 1], matrix[..., 0, 2], matrix[..., 1, 0]], -1)


def _coefficients(omega: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sin(a)/a, (1 - cos a)/a^2 and (a - sin a)/a^3 of the angles of ``omega`` [..., 3]."""
    square = (omega * omega).sum(-1)
    small = square < 1e-6
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    a = torch.where(small, 1 - square / 6, torch.sin(angle) / angle)
    b = torch.where(small, 0.5 - square / 24, (1 - torch.cos(angle)) / angle**2)
    c = torch.where(small, 1 / 6 - square / 120, (angle - torch.sin(angle)) / angle**3)
    return a, b, c
