"""What the network regresses: six coordinates of a pose relative to the centre of its range.

The coordinates are the rotation vector [rad] and the translation [mm] of the motion, about the isocentre
and in the axes of the centre pose, that carries the centre pose to the pose:
``pose = T(isocentre) (shift o rotation) T(-isocentre) centre``. Divided by the range's half widths they
are of the order of one.
"""

from __future__ import annotations

import numpy as np

from ..geometry import rigid
from ..geometry.pose_range import PoseRange


def coordinate_scale(pose_range: PoseRange) -> np.ndarray:
    """Half widths [6] (rad, mm) in the order of the coordinates; at least 1 degree and 1 mm."""
    primary, secondary, roll = np.deg2rad(np.maximum(pose_range.rotation_deg, 1.0))
    across, along, up = np.maximum(pose_range.translation_mm, 1.0)
    return np.array([secondary, primary, roll, across, up, along])


def poses_to_coordinates(poses: np.ndarray, pose_range: PoseRange) -> np.ndarray:
    """Coordinates [n, 6] in units of the range of poses [n, 4, 4]."""
    axes = pose_range.centre[:3, :3]
    motion = rigid.about_point(poses @ rigid.inverse(pose_range.centre), -pose_range.isocentre)
    omega = rigid.so3_log(axes.T @ motion[:, :3, :3] @ axes)
    shift = motion[:, :3, 3] @ axes
    return np.concatenate([omega, shift], axis=1) / coordinate_scale(pose_range)


def coordinates_to_poses(coordinates: np.ndarray, pose_range: PoseRange) -> np.ndarray:
    """Poses [n, 4, 4] of coordinates [n, 6]; the inverse of :func:`poses_to_coordinates`."""
    scaled = np.asarray(coordinates, dtype=np.float64) * coordinate_scale(pose_range)
    axes = pose_range.centre[:3, :3]
    motion = np.zeros((len(scaled), 4, 4))
    motion[:, :3, :3] = axes @ rigid.so3_exp(scaled[:, :3]) @ axes.T
    motion[:, :3, 3] = scaled[:, 3:] @ axes.T
    motion[:, 3, 3] = 1.0
    return rigid.about_point(motion, pose_range.isocentre) @ pose_range.centre
