"""What the readers' tests measure."""

from __future__ import annotations

import numpy as np
from DiffPoseRegistrationLib.datasets.dataset import Frame
from DiffPoseRegistrationLib.imaging.attenuation import AttenuationRule
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.metrics.errors import in_camera
from DiffPoseRegistrationLib.rendering.renderer import Renderer


def projected(frame: Frame) -> np.ndarray:
    """The frame's landmarks as pixels [n, 2] of the picture that it reads, by our camera and pose."""
    return frame.camera.project(in_camera(frame.truth.camera_to_world, frame.truth.landmarks_ras_mm))


def pinhole(points: np.ndarray, camera_to_lps: np.ndarray, intrinsic: np.ndarray) -> np.ndarray:
    """Pixels [n, 2] of points [n, 3] (LPS) by a calibration matrix and a motion as a data set states them."""
    lps_to_camera = np.linalg.inv(camera_to_lps)
    homogeneous = (points @ lps_to_camera[:3, :3].T + lps_to_camera[:3, 3]) @ intrinsic.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def likeness(frame: Frame, ct: CTVolume, shift_mm: tuple[float, float, float] = (0, 0, 0)) -> float:
    """Correlation of the picture that a frame reads with what we render of ``ct`` at its true pose, or ``shift_mm``
    (RAS) away from it."""
    pose = frame.truth.camera_to_world.copy()
    pose[:3, 3] += shift_mm
    rule = AttenuationRule(water_per_mm=0.02, bone_per_mm=0.04)  # linear, as the miniatures are
    drr = Renderer(ct, rule, levels=1).render(frame.camera, pose)
    return float(np.corrcoef(drr.ravel(), frame.read().attenuation.ravel())[0, 1])
