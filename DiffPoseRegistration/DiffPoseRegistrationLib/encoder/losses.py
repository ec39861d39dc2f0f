"""The training loss of DiffPose: geodesic distances between poses and, optionally, the similarity of images.

Gopalakrishnan, Dey, Golland, "Intraoperative 2D/3D Image Registration via Differentiable X-ray
Rendering", CVPR 2024: ``1 - NCC + lambda (L_log + L_geo)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .rigid_torch import rotation_angle, so3_exp


def geodesic_loss(predicted: Tensor, true: Tensor, scale: Tensor, lever_arm_mm: float) -> Tensor:
    """Mean double geodesic distance in mm between coordinates [b, 6] (see ``coordinates``).

    ``sqrt((lever arm * angle)^2 + |translation|^2)``: the angle between the rotations turned into a length
    by a lever arm, and the translation's distance. About the isocentre, with a lever arm of the size of
    the anatomy, this is close to the target registration error. (The papers take half the source to
    detector distance, since their translation is the source's.)
    """
    a, b = predicted * scale, true * scale
    relative = so3_exp(a[:, :3]).transpose(-1, -2) @ so3_exp(b[:, :3])
    angle = lever_arm_mm * rotation_angle(relative)
    shift = ((a[:, 3:] - b[:, 3:]) ** 2).sum(-1)
    return (angle**2 + shift + 1e-4).sqrt().mean()


def log_loss(predicted: Tensor, true: Tensor, scale: Tensor, lever_arm_mm: float) -> Tensor:
    """Mean distance in mm between the coordinates themselves, rotation weighted by the lever arm.

    The tangent-space companion of :func:`geodesic_loss`; it keeps a gradient where the geodesic saturates.
    """
    difference = (predicted - true) * scale
    weight = torch.tensor([lever_arm_mm] * 3 + [1.0] * 3, dtype=scale.dtype, device=scale.device)
    return ((difference * weight) ** 2).sum(-1).add(1e-4).sqrt().mean()


def ncc_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of ``1 - NCC`` between images [b, rows, columns], each over the whole image."""
    p = predicted.flatten(1)
    q = target.flatten(1)
    p = p - p.mean(1, keepdim=True)
    q = q - q.mean(1, keepdim=True)
    return (1 - (p * q).sum(1) / (p.norm(dim=1) * q.norm(dim=1)).clamp_min(1e-6)).mean()
