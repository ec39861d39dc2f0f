"""Training images: X-rays simulated out of the CT at poses drawn from the range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.attenuation import AttenuationRule
from ..imaging.values import CTVolume
from ..rendering.renderer import Renderer
from .coordinates import poses_to_coordinates

# Attenuation at 1000 HU, 1/mm: from a little below the linear rule to more than cortical bone at 50 keV.
# A real beam's energy, its hardening and the CT's own are unknown, so each batch has another contrast of
# bone against soft tissue.
BONE_CONTRASTS = (0.033, 0.045, 0.065)
IMAGE_SIDE = 64  # pixels, longest side
_VOXELS_PER_PIXEL = 1.5  # a little blur costs the network nothing and renders several times faster


def network_camera(camera: Camera, side: int = IMAGE_SIDE) -> Camera:
    """The detector of ``camera`` seen with at most ``side`` pixels a side."""
    factor = side / max(camera.rows, camera.columns)
    return camera.resampled(max(8, round(camera.rows * factor)), max(8, round(camera.columns * factor)))


class TrainingSimulator:
    """Draws poses from a range and renders them for the network's camera.

    Parameters
    ----------
    ct, camera, pose_range
        What to simulate; ``camera`` is the X-ray's, the network's follows from it.
    """

    def __init__(self, ct: CTVolume, camera: Camera, pose_range: PoseRange) -> None:
        self.camera = network_camera(camera)
        self.pose_range = pose_range
        distance = float(np.linalg.norm(pose_range.centre[:3, 3] - pose_range.isocentre))
        self._renderers = []
        for bone in BONE_CONTRASTS:
            rule = replace(AttenuationRule(), bone_per_mm=bone)
            self._renderers.append(Renderer(ct, rule, levels=4))
        self.level = self._renderers[0].level_for(self.camera, distance, _VOXELS_PER_PIXEL)

    def renderer(self, batch_number: int) -> Renderer:
        """The renderer whose bone contrast the batch of this number has."""
        return self._renderers[batch_number % len(self._renderers)]

    def batch(self, random: np.random.Generator, count: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images [count, rows, columns], their poses [count, 4, 4] and coordinates [count, 6].

        Poses whose image misses the body (less than a tenth of it shows anything) are drawn again, up to
        four times; a range that never hits is reported by :func:`has_content`.
        """
        poses = self.pose_range.sample(random, count)
        renderer = self.renderer(number)
        images = renderer.render_batch(self.camera, poses, self.level)
        for _ in range(4):
            missed = np.flatnonzero(~has_content(images))
            if not missed.size:
                break
            poses[missed] = self.pose_range.sample(random, len(missed))
            images[missed] = renderer.render_batch(self.camera, poses[missed], self.level)
        return images, poses, poses_to_coordinates(poses, self.pose_range)


def has_content(images: np.ndarray) -> np.ndarray:
    """Which images [n, rows, columns] show something on at least a tenth of their pixels: bool [n]."""
    return (images > 1e-3).mean(axis=(1, 2)) >= 0.1
