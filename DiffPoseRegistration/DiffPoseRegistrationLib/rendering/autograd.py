"""The compiled marcher inside torch: its backward pass is a product with the pose Jacobian."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry.camera import Camera
from .renderer import Renderer


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        twists: Tensor,
        renderer: Renderer,
        camera: Camera,
        poses: np.ndarray,
        level: int,
        zooms: np.ndarray | None,
    ) -> Tensor:
        image, jacobian = renderer.render_with_jacobian(camera, poses, renderer.isocentre, level, zooms)
        ctx.save_for_backward(torch.from_numpy(jacobian))
        return torch.from_numpy(image)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (jacobian,) = ctx.saved_tensors
        return torch.einsum("nrc,nrca->na", grad_outputs[0], jacobian), None, None, None, None, None


def render_at(
    twists: Tensor,
    renderer: Renderer,
    camera: Camera,
    poses: np.ndarray,
    level: int = 0,
    zooms: np.ndarray | None = None,
) -> Tensor:
    """Images [n, rows, columns] at ``poses`` [n, 4, 4], differentiable in ``twists`` [n, 6]; ``zooms`` as for
    ``Renderer.render_batch``.

    ``twists`` (omega [rad], v [mm], about the renderer's isocentre, world axes) are the first-order update
    of the poses and must be zero in value: the derivative is taken where the image is rendered.
    """
    return _Render.apply(twists, renderer, camera, poses, level, zooms)
