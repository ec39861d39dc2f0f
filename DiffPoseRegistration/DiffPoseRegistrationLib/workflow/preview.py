"""What a model will learn: simulated X-rays from all over a pose range."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.values import CTVolume
from ..rendering.renderer import Renderer
from .pictures import montage_picture

_LONGER_SIDE_PX = 256


def range_picture(ct: CTVolume, camera: Camera, pose_range: PoseRange, count: int = 12, seed: int = 0) -> Image.Image:
    """A page of DRRs: the centre pose first, then ``count - 1`` random poses of the range."""
    factor = _LONGER_SIDE_PX / max(camera.rows, camera.columns)
    small = camera.resampled(max(round(camera.rows * factor), 1), max(round(camera.columns * factor), 1))
    coordinates = np.random.default_rng(seed).uniform(-1, 1, (count, 6))
    coordinates *= np.array([*pose_range.rotation_deg, *pose_range.translation_mm])
    coordinates[0] = 0
    images = Renderer(ct, levels=1).render_batch(small, pose_range.pose(coordinates))
    titles = ["centre", *("{:.0f} {:.0f} {:.0f} deg, {:.0f} {:.0f} {:.0f} mm".format(*c) for c in coordinates[1:])]
    return montage_picture(
        list(images),
        titles,
        title=f"{ct.name}: simulated X-rays from the range",
        note="primary, secondary, roll in degrees; across, along the beam, up-down in mm, from the centre pose",
    )
