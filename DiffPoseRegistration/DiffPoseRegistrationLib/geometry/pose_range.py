"""Named views and ranges of poses: where a C-arm may stand around the patient.

A view is named by the beam, as radiography does: **AP** enters in front (source anterior), **PA** at
the back, **LL** / **RL** on the patient's left / right. In all of them increasing image rows run
towards the patient's feet for an image of a supine patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from . import rigid

# Where the source stands, as a direction from the isocentre in RAS.
_SOURCE_DIRECTION = {"AP": (0, 1, 0), "PA": (0, -1, 0), "LL": (-1, 0, 0), "RL": (1, 0, 0)}
VIEWS = tuple(_SOURCE_DIRECTION)
DISTRIBUTIONS = ("uniform", "gaussian")


def view_pose(view: str, isocentre: np.ndarray, source_to_isocentre_mm: float) -> np.ndarray:
    """Pose [4, 4] of a named view: the beam through ``isocentre`` (RAS), image rows towards the feet."""
    if view not in _SOURCE_DIRECTION:
        raise InputError(f"View {view!r} is not known; choose one of {', '.join(VIEWS)}.")
    towards_source = np.array(_SOURCE_DIRECTION[view], dtype=np.float64)
    z, y = -towards_source, np.array([0.0, 0.0, -1.0])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = np.cross(y, z), y, z
    pose[:3, 3] = np.asarray(isocentre) + towards_source * source_to_isocentre_mm
    return pose


@dataclass(frozen=True)
class PoseRange:
    """All poses that the C-arm may take about a centre pose.

    Parameters
    ----------
    centre
        Pose [4, 4] in the middle of the range.
    isocentre
        Point [3] (RAS, mm) about which the C-arm turns.
    rotation_deg
        Half ranges of (primary, secondary, roll): about the camera's y axis (the patient's long axis
        in AP), the camera's x axis, and the beam.
    translation_mm
        Half ranges (across, along the beam, up-down): the camera's x, z and y.
    distribution
        ``"uniform"`` in the six, or ``"gaussian"``: then they are standard deviations, of the twist (rotation vector
        and translation of se(3)) about the isocentre in camera axes.

    Raises
    ------
    InputError
        If the centre is no pose, a range is not three numbers from 0 upwards, or the distribution is not known.
    """

    centre: np.ndarray
    isocentre: np.ndarray
    rotation_deg: tuple[float, float, float]
    translation_mm: tuple[float, float, float]
    distribution: str = "uniform"

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "centre", rigid.validated_pose(self.centre, "The centre pose"))
        set_(self, "isocentre", np.array(self.isocentre, dtype=np.float64).reshape(3))
        for name, high in (("rotation_deg", 180.0), ("translation_mm", 5000.0)):
            values = tuple(float(v) for v in getattr(self, name))
            if len(values) != 3 or not all(0 <= v <= high for v in values):
                raise InputError(f"{name} must be three half ranges between 0 and {high:g}, not {values}.")
            set_(self, name, values)
        if self.distribution not in DISTRIBUTIONS:
            raise InputError(f"Poses are distributed {' or '.join(DISTRIBUTIONS)}, not {self.distribution!r}.")

    def half_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Half ranges [3] of the rotations (deg) and [3] of the translations (mm); of a normal distribution those of
        the uniform one that varies as much."""
        wider = np.sqrt(3.0) if self.distribution == "gaussian" else 1.0
        return np.array(self.rotation_deg) * wider, np.array(self.translation_mm) * wider

    def pose(self, coordinates: np.ndarray) -> np.ndarray:
        """Poses [..., 4, 4] at coordinates [..., 6] = (primary, secondary, roll [deg], across, along
        the beam, up-down [mm]) from the centre.

        The source's and detector's joint rotation about the isocentre is, in camera axes,
        ``Ry(primary) Rx(secondary) Rz(roll)``; the translation follows in the axes of the centre pose.
        """
        coordinates = np.asarray(coordinates, dtype=np.float64)
        axes = self.centre[:3, :3]
        angles = np.deg2rad(coordinates[..., :3])
        rotation = np.eye(3)
        for column, axis in ((0, 1), (1, 0), (2, 2)):
            vector = np.zeros((*coordinates.shape[:-1], 3))
            vector[..., axis] = angles[..., column]
            rotation = rotation @ rigid.so3_exp(vector)
        motion = np.zeros((*coordinates.shape[:-1], 4, 4))
        motion[..., :3, :3] = axes @ rotation @ axes.T
        motion[..., 3, 3] = 1.0
        motion = rigid.about_point(motion, self.isocentre)
        motion[..., :3, 3] += coordinates[..., [3, 5, 4]] @ axes.T
        return motion @ self.centre

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """``count`` poses [count, 4, 4] from the range."""
        half = np.array([*self.rotation_deg, *self.translation_mm])
        if self.distribution == "uniform":
            return self.pose(random.uniform(-1.0, 1.0, (count, 6)) * half)
        twists = random.normal(size=(count, 6)) * half
        twists[:, :3] = np.deg2rad(twists[:, [1, 0, 2]])
        axes = self.centre[:3, :3]
        twists = np.concatenate([twists[:, :3] @ axes.T, twists[:, [3, 5, 4]] @ axes.T], axis=1)
        return rigid.update_pose(self.centre, twists, self.isocentre)

    def holds(self, pose: np.ndarray) -> bool:
        """Whether ``pose`` [4, 4] lies within the half ranges; of a normal distribution, within twice them."""
        axes = self.centre[:3, :3]
        turned = axes.T @ pose[:3, :3]
        angles = np.rad2deg(
            [
                np.arctan2(turned[0, 2], turned[2, 2]),
                np.arcsin(np.clip(-turned[1, 2], -1, 1)),
                np.arctan2(turned[1, 0], turned[1, 1]),
            ]
        )
        motion = rigid.about_point(pose @ rigid.inverse(self.centre), -self.isocentre)
        shift = (motion[:3, 3] @ axes)[[0, 2, 1]]
        rotation, translation = self.half_ranges()
        reach = 2.0 if self.distribution == "gaussian" else 1.0
        most = reach * np.concatenate([rotation, translation]) * (1 + 1e-9)
        return bool((np.abs(np.concatenate([angles, shift])) <= np.maximum(most, 1e-6)).all())

    def to_json(self) -> dict[str, Any]:
        return {
            "centre_camera_to_world_ras_mm": self.centre.tolist(),
            "isocentre_ras_mm": self.isocentre.tolist(),
            "rotation_deg": list(self.rotation_deg),
            "translation_mm": list(self.translation_mm),
            "distribution": self.distribution,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PoseRange:
        return cls(
            np.array(data["centre_camera_to_world_ras_mm"]),
            np.array(data["isocentre_ras_mm"]),
            tuple(data["rotation_deg"]),
            tuple(data["translation_mm"]),
            data.get("distribution", "uniform"),
        )


def displaced(pose: np.ndarray, isocentre: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """``pose`` [4, 4] turned about the isocentre by rotation vectors [..., 3] (radians) and then shifted by [..., 3]
    (mm), both in the pose's own camera axes: poses [..., 4, 4]."""
    axes = pose[:3, :3]
    motion = np.zeros((*np.shape(rotation)[:-1], 4, 4))
    motion[..., :3, :3] = axes @ rigid.so3_exp(rotation) @ axes.T
    motion[..., 3, 3] = 1.0
    motion = rigid.about_point(motion, isocentre)
    motion[..., :3, 3] += np.asarray(shift, dtype=np.float64) @ axes.T
    return motion @ pose


def perturbed(
    pose: np.ndarray,
    isocentre: np.ndarray,
    rotation_deg: float,
    translation_mm: float,
    random: np.random.Generator,
) -> np.ndarray:
    """``pose`` disturbed about the isocentre: each component of a rotation vector uniform in
    +-``rotation_deg`` and each component of a translation uniform in +-``translation_mm``, camera axes."""
    omega = np.deg2rad(random.uniform(-rotation_deg, rotation_deg, 3))
    shift = random.uniform(-translation_mm, translation_mm, 3)
    return displaced(pose, isocentre, omega, shift)
