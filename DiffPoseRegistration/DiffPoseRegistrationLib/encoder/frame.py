"""What the network's numbers are relative to, and what a pose is in it.

A pose is seen from the frame's centre pose as the two things that an image shows: how the camera is turned
(``rotation``: from the camera's axes to those of the centre pose) and where it sees the isocentre (``position``, mm, in
the camera's own axes). Neither depends on the other; counted in the axes of the centre pose, a turn of the camera would
make depth of left and right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..geometry.pose_range import PoseRange


@dataclass(frozen=True)
class PoseFrame:
    """The pose and the point that others are counted from, and how far apart they are expected to be.

    Parameters
    ----------
    centre
        Pose [4, 4] (camera to world) at which the rotation is the identity.
    isocentre
        Point [3] (RAS, mm).
    rotation_rad, translation_mm
        Size [3] of a usual turn about the camera's x, y, z and of a usual shift along them.

    Raises
    ------
    InputError
        If the isocentre is not in front of the camera.
    """

    centre: np.ndarray
    isocentre: np.ndarray
    rotation_rad: np.ndarray
    translation_mm: np.ndarray

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "centre", rigid.validated_pose(self.centre, "The centre pose"))
        for name in ("isocentre", "rotation_rad", "translation_mm"):
            set_(self, name, np.array(getattr(self, name), dtype=np.float64).reshape(3))
        if self.position[2] < 1:
            raise InputError(
                "The centre of the pose range looks away from the isocentre; check that it is camera-to-world in RAS "
                "millimetres."
            )

    @classmethod
    def of_range(cls, pose_range: PoseRange) -> PoseFrame:
        """About the centre of a range, sized as the range is; at least 1 degree and 1 mm."""
        (primary, secondary, roll), (across, along, up) = pose_range.half_ranges()
        rotation = np.deg2rad(np.maximum([secondary, primary, roll], 1.0))
        return cls(pose_range.centre, pose_range.isocentre, rotation, np.maximum([across, up, along], 1.0))

    @property
    def position(self) -> np.ndarray:
        """Where the centre pose sees the isocentre, [3] mm."""
        return rigid.transform_points(rigid.inverse(self.centre), self.isocentre[None])[0]

    def relative(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations [n, 3, 3] and positions [n, 3] of poses [n, 4, 4]."""
        turned, source = poses[:, :3, :3], poses[:, :3, 3]
        return self.centre[:3, :3].T @ turned, np.einsum("nji,nj->ni", turned, self.isocentre - source)

    def poses(self, rotations: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Poses [n, 4, 4] of rotations [n, 3, 3] and positions [n, 3]; the inverse of :meth:`relative`."""
        poses = np.tile(np.eye(4), (len(rotations), 1, 1))
        poses[:, :3, :3] = self.centre[:3, :3] @ np.asarray(rotations, dtype=np.float64)
        poses[:, :3, 3] = self.isocentre - np.einsum("nij,nj->ni", poses[:, :3, :3], positions)
        return poses

    def points(self, points_ras: np.ndarray) -> np.ndarray:
        """Points [m, 3] (RAS, mm) from the isocentre, in the axes of the centre pose; the camera at (rotation,
        position) sees them at ``rotation.T @ point + position``."""
        return (np.asarray(points_ras, dtype=np.float64) - self.isocentre) @ self.centre[:3, :3]

    def moved(self, motion: np.ndarray) -> PoseFrame:
        """The frame carried along by a rigid motion [4, 4] of the world."""
        isocentre = rigid.transform_points(motion, self.isocentre[None])[0]
        return PoseFrame(motion @ self.centre, isocentre, self.rotation_rad, self.translation_mm)

    def to_json(self) -> dict[str, Any]:
        return {
            "centre_camera_to_world_ras_mm": self.centre.tolist(),
            "isocentre_ras_mm": self.isocentre.tolist(),
            "rotation_rad": self.rotation_rad.tolist(),
            "translation_mm": self.translation_mm.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PoseFrame:
        return cls(
            np.array(data["centre_camera_to_world_ras_mm"]),
            np.array(data["isocentre_ras_mm"]),
            np.array(data["rotation_rad"]),
            np.array(data["translation_mm"]),
        )
