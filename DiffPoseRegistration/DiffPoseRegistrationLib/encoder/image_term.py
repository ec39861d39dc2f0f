"""The image term of the loss: how unlike the X-rays at the predicted poses are to those at the true ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..rendering.autograd import render_at
from .coordinates import coordinates_to_poses
from .losses import ncc_loss
from .rigid_torch import so3_exp
from .simulator import TrainingSimulator


def image_term(predicted: Tensor, clean: np.ndarray, simulator: TrainingSimulator, step: int, scale: Tensor) -> Tensor:
    """``1 - NCC`` between the training images and those at the predicted poses."""
    here = predicted.detach().cpu()
    poses = coordinates_to_poses(here.numpy().astype(np.float64), simulator.pose_range)
    motion = twists(predicted.cpu(), here, scale.cpu(), simulator)
    at_prediction = render_at(motion, simulator.renderer(step), simulator.camera, poses, simulator.level)
    return ncc_loss(at_prediction, torch.from_numpy(clean))


def twists(predicted: Tensor, here: Tensor, scale: Tensor, simulator: TrainingSimulator) -> Tensor:
    """Zero twists [b, 6] about the isocentre whose derivative is that of the pose at ``predicted``.

    With rotation vector w and shift s (axes of the centre pose), a change (dw, ds) turns the camera by
    ``omega = J_l(w) dw`` and moves it by ``ds - omega x s``.
    """
    a, b = predicted * scale, here * scale
    # J_l(w) dw is the rotation vector of exp(w + dw) exp(-w) to first order.
    relative = so3_exp(a[:, :3]) @ so3_exp(b[:, :3]).transpose(-1, -2)
    omega = torch.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        -1,
    )
    omega = omega / 2
    shift = a[:, 3:] - b[:, 3:] - torch.linalg.cross(omega, b[:, 3:])
    axes = torch.tensor(simulator.pose_range.centre[:3, :3], dtype=torch.float32)
    offset = torch.tensor(
        simulator.pose_range.isocentre - simulator.renderer(0).isocentre, dtype=torch.float32
    ).expand_as(shift)
    omega, shift = omega @ axes.T, shift @ axes.T
    # From the range's isocentre to the renderer's: v changes by omega x (c' - c).
    return torch.cat([omega, shift - torch.linalg.cross(omega, offset)], dim=1)
