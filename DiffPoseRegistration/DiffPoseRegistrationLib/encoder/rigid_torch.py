"""The few rigid-motion formulas that training needs, differentiable, batched; see ``geometry.rigid``."""

from __future__ import annotations

import torch
from torch import Tensor


def so3_exp(omega: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] in radians."""
    square = (omega * omega).sum(-1)
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    a = torch.where(small, 1 - square / 6, torch.sin(angle) / angle)
    b = torch.where(small, 0.5 - square / 24, (1 - torch.cos(angle)) / angle**2)
    zero = torch.zeros_like(square)
    x, y, z = omega.unbind(-1)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*omega.shape[:-1], 3, 3)
    eye = torch.eye(3, dtype=omega.dtype, device=omega.device)
    return eye + a[..., None, None] * k + b[..., None, None] * (k @ k)


def rotation_angle(relative: Tensor) -> Tensor:
    """Geodesic angle [...] in radians of rotation matrices [..., 3, 3], with a finite gradient at zero.

    Through the chord, ``|R - I|_F = 2 sqrt(2) sin(angle / 2)``, which, unlike the arc cosine of the trace,
    stays accurate and differentiable for small angles.
    """
    eye = torch.eye(3, dtype=relative.dtype, device=relative.device)
    chord = ((relative - eye) ** 2).sum((-1, -2)).clamp_min(1e-12).sqrt() / (2 * 2**0.5)
    return 2 * torch.asin(chord.clamp_max(1 - 1e-6))
