"""What a training learns from: simulated, disturbed X-rays of one or more CTs, batch by batch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.values import CTVolume
from .augmentation import disturbed
from .frame import PoseFrame
from .lesson import Lesson
from .loss import TrainingLoss
from .network_input import network_input
from .parameterisation import Seen
from .settings import TrainingSettings
from .simulator import TrainingSimulator

KEPT = 24  # simulators at once: with all its contrasts and levels one takes some 30 MB


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

    @property
    def pose_frame(self) -> PoseFrame:
        """The frame, decided."""
        return self.frame or PoseFrame.of_range(self.pose_range)


class Lessons:
    """Makes the batches of a training, and says what is lost on them. Of many CTs only the simulators last used are
    kept.

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
        self._bodies, self._camera = bodies, camera
        self._kept: OrderedDict[int, tuple[TrainingSimulator, TrainingLoss]] = OrderedDict()
        self._lock = threading.Lock()  # batches are made by one thread, and learned from by another
        for body in range(len(bodies)):
            self.simulator(body).require_content(np.random.default_rng(settings.seed))

    def simulator(self, body: int) -> TrainingSimulator:
        """Of a CT by its number."""
        return self._of(body)[0]

    def loss(self, body: int) -> TrainingLoss:
        """Of X-rays of a CT by its number."""
        return self._of(body)[1]

    def lesson(self, number: int, done: float = 1.0) -> Lesson:
        """The batch of a step, whatever came before it; ``done`` (0 to 1) is the share of the budget that is used up,
        and decides how many of the X-rays are disturbed."""
        turn = number * self._processes + self._rank
        random = np.random.default_rng([self._settings.seed, 2, turn])
        body = turn % len(self._bodies)
        batch = self.simulator(body).batch(random, self._settings.batch_size, turn // len(self._bodies))
        torch_random = torch.Generator().manual_seed(int(random.integers(2**62)))
        shares = {name: share * self._settings.disturbed(done) for name, share in self._settings.augmentation.items()}
        image, mask = disturbed(torch.from_numpy(batch.images)[:, None], torch_random, shares)
        mask = mask * torch.from_numpy(batch.covered)[:, None]
        places = (batch.rotations, batch.positions, batch.zooms)
        *true, zooms = (torch.from_numpy(part.astype(np.float32)) for part in places)
        shown = network_input(image, mask, self._settings.contrast_boxes_px)
        return Lesson(shown, mask > 0, Seen(*true), zooms, batch.images, batch.contrast, body)

    def _of(self, number: int) -> tuple[TrainingSimulator, TrainingLoss]:
        with self._lock:
            if number not in self._kept:
                body = self._bodies[number]
                simulator = _simulator(body, self._camera, self._settings)
                self._kept[number] = simulator, TrainingLoss(self._settings, simulator, body.landmarks, body.structures)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
            return self._kept[number]


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
