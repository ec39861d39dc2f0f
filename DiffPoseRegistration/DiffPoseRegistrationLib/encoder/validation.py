"""How far off the network is on X-rays that it has not learned from, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binom

from ..geometry import rigid
from .augmentation import disturbed
from .reading import PoseReader, XRayStack
from .settings import TrainingSettings
from .simulator import TrainingSimulator

_AT_ONCE = 50
_FINER = 2  # times the network's image: the X-rays go the whole way of a real one, averaging and turning included


@dataclass(frozen=True)
class ErrorEstimate:
    """Target registration errors on unseen simulated X-rays, mm.

    median_mm, percentile95_mm
        Of the mean errors over the landmarks.
    low_mm, high_mm
        95 % confidence interval of the median; None where there are too few X-rays for one.
    """

    median_mm: float
    percentile95_mm: float
    low_mm: float | None
    high_mm: float | None

    @classmethod
    def of(cls, errors: np.ndarray) -> ErrorEstimate:
        return cls(
            float(np.median(errors)), float(np.percentile(errors, 95)), *(median_interval(errors) or (None, None))
        )

    def is_below(self, goal_mm: float) -> bool:
        """Whether the median is below ``goal_mm`` with 97.5 % confidence."""
        return self.high_mm is not None and self.high_mm < goal_mm


def median_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Confidence interval of the median, from the order statistics alone: whatever the distribution, the number of
    values below its median is binomial with one half. None where there are too few values for one."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    rank = int(binom.ppf((1 - confidence) / 2, len(ordered), 0.5))
    if rank < 1:
        return None
    return float(ordered[rank - 1]), float(ordered[len(ordered) - rank])


class UnseenXRays:
    """Unseen simulated X-rays, as they are and disturbed like the training's; the same for the same seed.

    Parameters
    ----------
    landmarks
        Points [m, 3] (RAS, mm) whose error is measured.
    count
        How many X-rays.
    """

    def __init__(
        self, simulator: TrainingSimulator, landmarks: np.ndarray, settings: TrainingSettings, count: int
    ) -> None:
        finer = simulator.at_side(_FINER * settings.image_side)
        random = np.random.default_rng([settings.seed, 1])
        torch_random = torch.Generator().manual_seed(settings.seed + 1)
        images: list[torch.Tensor] = []
        masks: list[tuple[torch.Tensor, torch.Tensor]] = []
        poses: list[np.ndarray] = []
        while (left := count - sum(len(part) for part in poses)) > 0:
            batch = finer.batch(random, min(left, _AT_ONCE), contrast=len(poses))
            images.append(torch.from_numpy(batch.images))
            masks.append(disturbed(images[-1][:, None], torch_random, settings.augmentation))
            poses.append(finer.frame.poses(batch.rotations, batch.positions))
        clean = torch.cat(images)
        self._clean = XRayStack(clean, torch.ones_like(clean), finer.camera, simulator.camera)
        image, mask = (torch.cat([part[n] for part in masks])[:, 0] for n in range(2))
        self._disturbed = XRayStack(image, mask, finer.camera, simulator.camera)
        self.frame = simulator.frame
        self._poses, self._landmarks = np.concatenate(poses), np.asarray(landmarks, dtype=np.float64)

    def errors(self, reader: PoseReader, *, disturbed: bool = False, half: bool = False) -> np.ndarray:
        """Errors [n] (mm, mean over the landmarks) of the likeliest poses that ``reader`` gives; with ``half`` on the
        first half of the X-rays."""
        xrays = self._disturbed if disturbed else self._clean
        count = -(-len(xrays) // 2) if half else len(xrays)
        readings = reader.read(xrays, count)
        likeliest = readings.weights.argmax(1)
        found = readings.poses[np.arange(count), likeliest]
        return landmark_errors(found, self._poses[:count], self._landmarks)


def landmark_errors(estimated: np.ndarray, true: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Mean target registration errors [n] (mm) over landmarks [m, 3] of poses [n, 4, 4]."""
    a, b = (
        np.einsum("nij,mj->nmi", inverse[:, :3, :3], landmarks) + inverse[:, None, :3, 3]
        for inverse in (rigid.inverse(estimated), rigid.inverse(true))
    )
    return np.linalg.norm(a - b, axis=-1).mean(axis=1)
