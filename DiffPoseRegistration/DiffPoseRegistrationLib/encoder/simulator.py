"""Training images: X-rays simulated out of the CT at poses drawn from the range."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.attenuation import AttenuationRule
from ..imaging.values import CTVolume
from ..rendering.renderer import Renderer
from . import aim
from .frame import PoseFrame

IMAGE_SIDE = 64  # pixels, longest side
_VOXELS_PER_PIXEL = 1.5  # a little blur costs the network nothing and renders several times faster
_LEAST_CONTENT, _DRAWS = 0.1, 5


def network_camera(camera: Camera, side: int = IMAGE_SIDE) -> Camera:
    """The detector of ``camera`` seen with at most ``side`` pixels a side."""
    factor = side / max(camera.rows, camera.columns)
    return camera.resampled(max(8, round(camera.rows * factor)), max(8, round(camera.columns * factor)))


@dataclass(frozen=True)
class Batch:
    """Simulated X-rays and where they were taken from.

    images
        Line integrals [b, rows, columns], float32, as the aimed camera would see them on an endless detector.
    covered
        Bool [b, rows, columns]: what the detector, whose rays the aimed camera shares, shows of it.
    rotations, positions
        [b, 3, 3] and [b, 3] of the aimed camera in the frame.
    zooms
        [b] of the aimed camera.
    contrast
        Which of the simulator's bone contrasts the images have.
    """

    images: np.ndarray
    covered: np.ndarray
    rotations: np.ndarray
    positions: np.ndarray
    zooms: np.ndarray
    contrast: int


class TrainingSimulator:
    """Draws poses from a range and renders them for the network's camera.

    Parameters
    ----------
    ct, camera, pose_range
        What to simulate; ``camera`` is the X-ray's, the network's follows from it.
    frame
        What the poses are given in; default: that of the range.
    side
        Longest side of the network's image in pixels.
    bone_contrasts
        Attenuations at 1000 HU, 1/mm. A real beam's energy, its hardening and the CT's own are unknown, so each batch
        has another of these contrasts of bone against soft tissue.
    aimed_share
        Share of the images whose camera is aimed at the isocentre, see :mod:`.aim`.
    distance_jitter, principal_point_jitter_px
        Half ranges of the source-to-detector distance (as a share of it) and of the principal point (in pixels of the
        network's image) by which the camera may differ from what it is said to be, drawn for each batch.
    """

    def __init__(
        self,
        ct: CTVolume,
        camera: Camera,
        pose_range: PoseRange,
        frame: PoseFrame | None = None,
        *,
        side: int = IMAGE_SIDE,
        bone_contrasts: Sequence[float] = (0.045,),
        aimed_share: float = 0.0,
        distance_jitter: float = 0.0,
        principal_point_jitter_px: float = 0.0,
    ) -> None:
        self.name = ct.name
        self.camera = network_camera(camera, side)
        self.pose_range = pose_range
        self.frame = frame or PoseFrame.of_range(pose_range)
        rules = [AttenuationRule(bone_per_mm=bone) for bone in bone_contrasts]
        self.renderers = [Renderer(ct, rule, levels=4) for rule in rules]
        self.level = self._level()
        self._aimed_share = aimed_share
        self._jitter = (distance_jitter, principal_point_jitter_px)

    def batch(self, random: np.random.Generator, count: int, contrast: int = 0) -> Batch:
        """``count`` X-rays, the same for the same state of ``random``.

        Poses whose image misses the body (less than a tenth of it shows anything) are drawn again, up to four times;
        a range that hardly ever hits is refused by :meth:`require_content`.
        """
        aimed = random.random(count) < self._aimed_share
        arrays = images, covered, rotations, positions, zooms = self._shoot(random, aimed, contrast)
        for _ in range(_DRAWS - 1):
            missed = np.flatnonzero(~has_content(images * covered))
            if not missed.size:
                break
            for array, again in zip(arrays, self._shoot(random, aimed[missed], contrast)):
                array[missed] = again
        return Batch(images, covered, rotations, positions, zooms, contrast % len(self.renderers))

    def at_side(self, side: int) -> TrainingSimulator:
        """The same with another size of image, and without aimed cameras or jitter: X-rays to be measured on."""
        other = copy.copy(self)
        other.camera = network_camera(self.camera, side)
        other.level = other._level()
        other._aimed_share, other._jitter = 0.0, (0.0, 0.0)
        return other

    def _level(self) -> int:
        distance = float(np.linalg.norm(self.pose_range.centre[:3, 3] - self.pose_range.isocentre))
        return self.renderers[0].level_for(self.camera, distance, _VOXELS_PER_PIXEL)

    def _shoot(
        self, random: np.random.Generator, aimed: np.ndarray, contrast: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The arrays of a :class:`Batch`; those cameras are aimed of which ``aimed`` [n] says so."""
        poses = self.pose_range.sample(random, len(aimed))
        rotations, positions = self.frame.relative(poses)
        zooms = np.ones(len(aimed))
        covered = np.ones((len(aimed), self.camera.rows, self.camera.columns), dtype=bool)
        if aimed.any():
            exact = aim.towards(rotations[aimed], positions[aimed], self.frame.position[2])
            aims = exact.then(aim.spread(random, int(aimed.sum())))
            rotations[aimed] = rotations[aimed] @ aims.turns
            positions[aimed] = np.einsum("nji,nj->ni", aims.turns, positions[aimed])
            zooms[aimed] = aims.zooms
            covered[aimed] = aim.covered(self.camera, self.camera, aims)
            poses = self.frame.poses(rotations, positions)
        renderer = self.renderers[contrast % len(self.renderers)]
        images = renderer.render_batch(self._camera_now(random), poses, self.level, zooms if aimed.any() else None)
        return images, covered, rotations, positions, zooms

    def require_content(self, random: np.random.Generator) -> None:
        """Raises InputError if the CT projects into the image from next to none of the range's poses."""
        poses = self.pose_range.sample(random, 64)
        seen = has_content(self.renderers[0].render_batch(self.camera, poses, self.level)).mean()
        if seen < 0.25:
            raise InputError(
                f"{self.name} projects into the image from only {seen:.0%} of the poses in the range; check the view, "
                "the source-to-isocentre distance and the X-ray's geometry."
            )

    def _camera_now(self, random: np.random.Generator) -> Camera:
        distance, shift = self._jitter
        if not distance and not shift:
            return self.camera
        column, row = np.array(self.camera.principal_point_px) + random.uniform(-shift, shift, 2)
        longer = self.camera.source_to_detector_mm * (1 + random.uniform(-distance, distance))
        return replace(self.camera, principal_point_px=(column, row), source_to_detector_mm=longer)


def has_content(images: np.ndarray) -> np.ndarray:
    """Which images [n, rows, columns] show something on at least a tenth of their pixels: bool [n]."""
    return (images > 1e-3).mean(axis=(1, 2)) >= _LEAST_CONTENT
