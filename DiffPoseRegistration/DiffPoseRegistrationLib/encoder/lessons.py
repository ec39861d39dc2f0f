"""What a training learns from: simulated, disturbed X-rays of one or more CTs, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.values import CTVolume
from .augmentation import disturbed, normalised
from .frame import PoseFrame
from .loss import TrainingLoss
from .parameterisation import Seen
from .settings import TrainingSettings
from .simulator import TrainingSimulator


@dataclass(frozen=True)
class TrainingBody:
    """A CT to learn from.

    pose_range
        Of its X-rays.
    landmarks
        Points [m, 3] (RAS, mm) whose error is made small and reported.
    frame
        What its poses are given in; None: that of the range.
    structures
        Parts of the CT, all else air, whose projections the Dice loss compares.
    """

    ct: CTVolume
    pose_range: PoseRange
    landmarks: np.ndarray
    frame: PoseFrame | None = None
    structures: tuple[CTVolume, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """A batch, ready for the network.

    images
        Disturbed and normalised, [b, 1, rows, columns].
    true
        Where they were taken from.
    clean, contrast
        The undisturbed line integrals [b, rows, columns], and which of the bone contrasts they have.
    body
        Which of the CTs they are of.
    """

    images: Tensor
    true: Seen
    clean: np.ndarray
    contrast: int
    body: int


class Lessons:
    """Makes the batches of a training.

    Parameters
    ----------
    bodies
        The CTs; the batches take turns among them.
    rank, processes
        Each of several processes gets other batches.

    Raises
    ------
    InputError
        If a CT projects into the image from next to none of its range's poses.
    """

    def __init__(
        self,
        bodies: Sequence[TrainingBody],
        camera: Camera,
        settings: TrainingSettings,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._settings, self._rank, self._processes = settings, rank, processes
        self.simulators = [_simulator(body, camera, settings) for body in bodies]
        for simulator in self.simulators:
            simulator.require_content(np.random.default_rng(settings.seed))
        self.losses = [
            TrainingLoss(settings, simulator, body.landmarks, body.structures)
            for simulator, body in zip(self.simulators, bodies)
        ]

    def lesson(self, number: int) -> Lesson:
        """The batch of a step, whatever came before it."""
        turn = number * self._processes + self._rank
        random = np.random.default_rng([self._settings.seed, 2, turn])
        body = turn % len(self.simulators)
        batch = self.simulators[body].batch(random, self._settings.batch_size, turn // len(self.simulators))
        torch_random = torch.Generator().manual_seed(int(random.integers(2**62)))
        image, mask = disturbed(torch.from_numpy(batch.images)[:, None], torch_random, self._settings.augmentation)
        image = normalised(image, mask * torch.from_numpy(batch.covered)[:, None])
        true = Seen(*(torch.from_numpy(part.astype(np.float32)) for part in (batch.rotations, batch.positions)))
        return Lesson(image, true, batch.images, batch.contrast, body)


def _simulator(body: TrainingBody, camera: Camera, settings: TrainingSettings) -> TrainingSimulator:
    return TrainingSimulator(
        body.ct,
        camera,
        body.pose_range,
        body.frame,
        side=settings.image_side,
        bone_contrasts=settings.bone_contrasts,
        aimed_share=settings.aimed_share,
        distance_jitter=settings.distance_jitter,
        principal_point_jitter_px=settings.principal_point_jitter_px,
    )
