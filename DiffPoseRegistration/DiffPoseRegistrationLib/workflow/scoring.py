"""Scoring a found pose against a known one."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from ..geometry.camera import Camera
from ..imaging.pose_file import Truth
from ..imaging.values import CTVolume
from ..metrics.errors import pose_error
from ..metrics.evaluators import published_errors

_BONE_HU = 250.0
_BONE_POINTS = 20
_KNOWN = 4
_known_points: dict[tuple[str, int], np.ndarray] = {}


def landmarks_of(truth: Truth, ct: CTVolume) -> tuple[np.ndarray, str]:
    """The points [n, 3] (RAS, mm) at which the error is measured, and where they come from: the truth's own,
    else points spread over the CT's bone."""
    if truth.landmarks_ras_mm is not None:
        return truth.landmarks_ras_mm, f"{len(truth.landmarks_ras_mm)} landmarks of the reference"
    points = bone_points(ct)
    return points, f"{len(points)} points spread over the CT's bone, as the reference has no landmarks"


def bone_points(ct: CTVolume, count: int = _BONE_POINTS) -> np.ndarray:
    """``count`` points [n, 3] (RAS, mm) far apart from one another on the CT's bone; always the same ones for a CT,
    and those of the last few CTs are remembered."""
    key = (ct.fingerprint, count)
    if key not in _known_points:
        while len(_known_points) >= _KNOWN:
            _known_points.pop(next(iter(_known_points)), None)
        _known_points[key] = _farthest_points(ct, count)
    return _known_points[key].copy()


def _farthest_points(ct: CTVolume, count: int) -> np.ndarray:
    """Farthest-point sampling (Gonzalez 1985) of the CT's bone."""
    threshold = min(_BONE_HU, float(np.quantile(ct.hounsfield, 0.999)))
    k, j, i = np.nonzero(ct.hounsfield >= threshold)
    step = max(len(i) // 20000, 1)  # enough to choose from
    voxels = np.stack([i, j, k], axis=1)[::step].astype(np.float64)
    points = voxels @ ct.ijk_to_ras[:3, :3].T + ct.ijk_to_ras[:3, 3]
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]


def score(pose: np.ndarray, truth: Truth, ct: CTVolume, camera: Camera) -> dict[str, float | str]:
    """The errors of :class:`metrics.errors.PoseError` by name, and ``landmarks``: where they were measured."""
    landmarks, source = landmarks_of(truth, ct)
    found = pose_error(pose, truth.camera_to_world, landmarks, camera, ct.centre_ras)
    return {**asdict(found), "landmarks": source}


def score_by_published_evaluators(pose: np.ndarray, truth: Truth, ct: CTVolume, camera: Camera) -> dict[str, float]:
    """The errors of :class:`metrics.evaluators.PublishedErrors` by name, over the same landmarks."""
    landmarks, _ = landmarks_of(truth, ct)
    return asdict(published_errors(pose, truth.camera_to_world, landmarks, camera, ct.centre_ras))
