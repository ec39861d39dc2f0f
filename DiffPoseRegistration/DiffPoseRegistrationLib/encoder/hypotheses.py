"""From what the network reads to weighed hypotheses for the refinement to start from."""

from __future__ import annotations

import numpy as np

from ..geometry import rigid
from ..geometry.pose_range import PoseRange
from ..refinement.starts import Hypotheses, mirrored_twins
from .reading import Readings

_APART_MM = 15.0  # nearer poses are one hypothesis: a refinement captures more
_RADIUS_MM = 100.0  # where poses are compared, about the isocentre
_DOUBT = 0.5  # weight of what single looks say, and of a twin, as a share of the pose's own
MOST = 8


def weighed(readings: Readings, pose_range: PoseRange) -> Hypotheses:
    """The hypotheses about the first X-ray of ``readings``.

    In the order in which they are taken, each where it is apart from all before it: the poses read; the single looks
    of turned cameras that disagree with their mean; the poses from the other side that look alike (AP for PA), where
    the range reaches there.
    """
    isocentre = pose_range.isocentre
    poses: list[np.ndarray] = []
    weights: list[float] = []

    def take(pose: np.ndarray, weight: float) -> None:
        for n, other in enumerate(poses):
            if distance_mm(pose, other, isocentre) < _APART_MM:
                weights[n] += weight
                return
        poses.append(pose)
        weights.append(weight)

    order = np.argsort(-readings.weights[0], kind="stable")
    for n in order:
        take(readings.poses[0, n], float(readings.weights[0, n]))
    for n in order:
        looks = readings.looks[0, n]
        for look in looks:
            take(look, _DOUBT * float(readings.weights[0, n]) / len(looks))
    for pose, weight in list(zip(poses, weights)):
        for twin in mirrored_twins(pose, isocentre):
            if pose_range.holds(twin):
                take(twin, _DOUBT * weight)
    best = np.argsort(-np.array(weights), kind="stable")[:MOST]
    return Hypotheses(np.stack(poses)[best], np.array(weights)[best])


def distance_mm(a: np.ndarray, b: np.ndarray, isocentre: np.ndarray) -> float:
    """Mean distance (mm) in the camera frame of six points around the isocentre as two poses [4, 4] see them."""
    around = isocentre + _RADIUS_MM * np.concatenate([np.eye(3), -np.eye(3)])
    seen = [rigid.transform_points(rigid.inverse(pose), around) for pose in (a, b)]
    return float(np.linalg.norm(seen[0] - seen[1], axis=1).mean())
