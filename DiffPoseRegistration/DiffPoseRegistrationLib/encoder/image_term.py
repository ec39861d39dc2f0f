"""The X-rays at the predicted poses, differentiable in the prediction, for the losses that compare images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..geometry.camera import Camera
from ..rendering.autograd import render_at
from ..rendering.renderer import Renderer
from .frame import PoseFrame
from .parameterisation import Seen
from .rigid_torch import vee


def images_at(
    predicted: Seen, frame: PoseFrame, renderer: Renderer, camera: Camera, level: int, zooms: np.ndarray | None = None
) -> Tensor:
    """Line integrals [b, rows, columns] at the poses ``predicted``, on the CPU; ``zooms`` [b] of the camera."""
    predicted = Seen(predicted.rotation.cpu(), predicted.position.cpu())
    poses = frame.poses(*(part.detach().numpy().astype(np.float64) for part in predicted))
    return render_at(twists(predicted, frame, renderer.isocentre), renderer, camera, poses, level, zooms)


def twists(predicted: Seen, frame: PoseFrame, about: np.ndarray) -> Tensor:
    """Twists [b, 6] about the point ``about`` [3] (RAS), zero in value, whose derivative is that of the poses.

    With rotation R and source o (in the axes of the centre pose), a change turns the camera by omega = vee(dR R^T) and
    moves its source by do = v + omega x (o - about).
    """
    here = Seen(predicted.rotation.detach(), predicted.position.detach())
    turn = predicted.rotation @ here.rotation.transpose(-1, -2)
    omega = vee(turn - turn.transpose(-1, -2)) / 2
    lever = here.source - torch.tensor(frame.points(about[None])[0], dtype=torch.float32)
    v = predicted.source - here.source - torch.linalg.cross(omega, lever)
    axes = torch.tensor(frame.centre[:3, :3], dtype=torch.float32)
    return torch.cat([omega @ axes.T, v @ axes.T], dim=1)
