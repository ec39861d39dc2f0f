"""Errors of an estimated pose against a true one, by the definitions of the field.

All of them compare where the two poses put the *patient* in the camera frame, which is what the X-ray
sees. (Comparing where they put the camera in the world gives other numbers: a turn of the camera about
its own source then looks small although every projected landmark moves. ``evaluators`` has what published
code computes.)

Sources: E. B. van de Kraats et al., "Standardized evaluation methodology for 2-D-3-D registration", IEEE TMI 24(9),
2005 (TRE, projection and reprojection distance); J. M. Fitzpatrick et al., IEEE TMI 17(5), 1998 (TRE).
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
        Target registration error (mTRE): mean over the landmarks of the distance between the landmark placed
        by either pose, in camera coordinates.
    projection_error_mm
        Mean distance of the projected landmarks on the detector (mPD, mPE).
    projection_error_isocentre_mm
        The same divided by the magnification at the isocentre, so that X-ray machines can be compared.
    reprojection_distance_mm
        Mean distance of the landmarks, where they truly are, from the rays on which the estimate sees them (mRPD):
        the TRE without its part along the beam.
    rotation_deg
        Angle of the rotation between the poses.
    in_plane_mm, depth_mm
        Displacement of the landmarks' centroid across the beam and along it (absolute), in the camera frame.
    """

    tre_mm: float
    projection_error_mm: float
    projection_error_isocentre_mm: float
    reprojection_distance_mm: float
    rotation_deg: float
    in_plane_mm: float
    depth_mm: float


def target_registration_errors(estimated: np.ndarray, true: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Distances [n] (mm) between landmarks [n, 3] (RAS) as either pose places them in the camera frame."""
    a, b = in_camera(estimated, landmarks), in_camera(true, landmarks)
    return np.linalg.norm(a - b, axis=-1)


def projection_errors(estimated: np.ndarray, true: np.ndarray, landmarks: np.ndarray, camera: Camera) -> np.ndarray:
    """Distances [n] (mm, on the detector) between the projections of landmarks [n, 3] (RAS); NaN for a landmark behind
    either source."""
    a, b = (camera.project(in_camera(pose, landmarks)) for pose in (estimated, true))
    return np.linalg.norm((a - b) * np.array(camera.pixel_spacing_mm[::-1]), axis=-1)


def magnification(true: np.ndarray, isocentre: np.ndarray, camera: Camera) -> float:
    """How much larger than life the true pose shows what lies at ``isocentre`` [3] (RAS)."""
    return camera.source_to_detector_mm / float(in_camera(true, isocentre)[2])


def reprojection_distances(estimated: np.ndarray, true: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Distances [n] (mm) of the truly placed landmarks [n, 3] (RAS) from the rays that run from the source through the
    landmarks as the estimate places them."""
    seen, there = in_camera(estimated, landmarks), in_camera(true, landmarks)
    rays = seen / np.linalg.norm(seen, axis=-1, keepdims=True)
    along = np.sum(there * rays, axis=-1, keepdims=True)
    return np.linalg.norm(there - along * rays, axis=-1)


def rotation_error_deg(estimated: np.ndarray, true: np.ndarray) -> float:
    """Angle between the rotations of two poses [4, 4], in degrees."""
    return float(np.rad2deg(np.linalg.norm(rigid.so3_log(estimated[:3, :3].T @ true[:3, :3]))))


def pose_error(
    estimated: np.ndarray,
    true: np.ndarray,
    landmarks: np.ndarray,
    camera: Camera,
    isocentre: np.ndarray | None = None,
) -> PoseError:
    """All errors of ``estimated`` against ``true`` (poses [4, 4]) over landmarks [n, 3] (RAS, mm).

    ``isocentre`` [3] (RAS, mm): where ``projection_error_isocentre_mm`` is measured; None: the landmarks' centroid.
    """
    landmarks = np.asarray(landmarks, dtype=np.float64).reshape(-1, 3)
    centroid = landmarks.mean(axis=0)
    shift = in_camera(estimated, centroid) - in_camera(true, centroid)
    projection = float(projection_errors(estimated, true, landmarks, camera).mean())
    return PoseError(
        tre_mm=float(target_registration_errors(estimated, true, landmarks).mean()),
        projection_error_mm=projection,
        projection_error_isocentre_mm=projection
        / magnification(true, centroid if isocentre is None else isocentre, camera),
        reprojection_distance_mm=float(reprojection_distances(estimated, true, landmarks).mean()),
        rotation_deg=rotation_error_deg(estimated, true),
        in_plane_mm=float(np.hypot(shift[0], shift[1])),
        depth_mm=float(abs(shift[2])),
    )


def in_camera(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [n, 3] or [3] (RAS, mm) in the camera frame of ``pose`` [4, 4]."""
    return rigid.transform_points(rigid.inverse(pose), points)
