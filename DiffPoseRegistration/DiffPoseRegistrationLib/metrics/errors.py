"""Errors of an estimated pose against a true one.

All of them compare where the two poses put the *patient* in the camera frame, which is what the X-ray
sees. (Comparing where they put the camera in the world gives other numbers: a turn of the camera about
its own source then looks small although every projected landmark moves.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import rigid
from ..geometry.camera import Camera


@dataclass(frozen=True)
class PoseError:
    """Errors of one pose.

    tre_mm
        Target registration error: mean over the landmarks of the distance between the landmark placed
        by either pose, in camera coordinates.
    projection_error_mm
        Mean distance of the projected landmarks on the detector.
    rotation_deg
        Angle of the rotation between the poses.
    in_plane_mm, depth_mm
        Displacement of the landmarks' centroid across the beam and along it (absolute), in the camera frame.
    """

    tre_mm: float
    projection_error_mm: float
    rotation_deg: float
    in_plane_mm: float
    depth_mm: float


def target_registration_errors(estimated: np.ndarray, true: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Distances [n] (mm) between landmarks [n, 3] (RAS) as either pose places them in the camera frame."""
    a = rigid.transform_points(rigid.inverse(estimated), landmarks)
    b = rigid.transform_points(rigid.inverse(true), landmarks)
    return np.linalg.norm(a - b, axis=-1)


def projection_errors(estimated: np.ndarray, true: np.ndarray, landmarks: np.ndarray, camera: Camera) -> np.ndarray:
    """Distances [n] (mm, on the detector) between the projections of landmarks [n, 3] (RAS)."""
    a = camera.project(rigid.transform_points(rigid.inverse(estimated), landmarks))
    b = camera.project(rigid.transform_points(rigid.inverse(true), landmarks))
    return np.linalg.norm((a - b) * np.array(camera.pixel_spacing_mm[::-1]), axis=-1)


def rotation_error_deg(estimated: np.ndarray, true: np.ndarray) -> float:
    """Angle between the rotations of two poses [4, 4], in degrees."""
    return float(np.rad2deg(np.linalg.norm(rigid.so3_log(estimated[:3, :3].T @ true[:3, :3]))))


def pose_error(estimated: np.ndarray, true: np.ndarray, landmarks: np.ndarray, camera: Camera) -> PoseError:
    """All errors of ``estimated`` against ``true`` (poses [4, 4]) over landmarks [n, 3] (RAS, mm)."""
    landmarks = np.asarray(landmarks, dtype=np.float64).reshape(-1, 3)
    centroid = landmarks.mean(axis=0, keepdims=True)
    shift = (
        rigid.transform_points(rigid.inverse(estimated), centroid)
        - rigid.transform_points(rigid.inverse(true), centroid)
    )[0]
    return PoseError(
        tre_mm=float(target_registration_errors(estimated, true, landmarks).mean()),
        projection_error_mm=float(projection_errors(estimated, true, landmarks, camera).mean()),
        rotation_deg=rotation_error_deg(estimated, true),
        in_plane_mm=float(np.hypot(shift[0], shift[1])),
        depth_mm=float(abs(shift[2])),
    )
