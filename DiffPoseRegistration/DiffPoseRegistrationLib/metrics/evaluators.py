"""What the published evaluators of DiffPose and xvr compute, so that numbers can be compared like with like.

They are not the field's definitions (``errors`` has those) and differ from them by factors of five to ten:

- DiffPose's evaluator takes the distance between the landmarks' projections on the two poses' detectors, in the world
  and in millimetres already, and multiplies it by the pixel size once more (0.194 for DeepFluoro, 0.154 for
  Ljubljana).
- xvr's "mTRE" moves the landmarks, which are points of the world, by the camera-to-world poses, which take points of
  the camera frame. A turn of the camera about its own source then counts little, a turn about the patient ten times.

Both place the volume's centre at the origin of the world, which is what ``isocentre`` is for here.

Sources, read and not copied: eigenvivek/DiffPose ``diffpose/deepfluoro.py`` and ``ljubljana.py`` at afc0159;
eigenvivek/xvr ``metrics/evaluator.py`` at 5fb7857; DiffDRR 0.6.1 ``detector.py``, ``drr.py``, ``metrics.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import rigid
from ..geometry.camera import Camera
from .errors import in_camera, projection_errors

# From the frame in which DiffDRR states its poses (AP) to our camera frame: its camera has y up and x to the left as
# seen from the source, and "AP" turns it by 90 degrees about x.
_OURS_TO_DIFFDRR_CAMERA = np.diag([-1.0, -1.0, 1.0, 1.0])
_DIFFDRR_AP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class PublishedErrors:
    """Errors of one pose by other people's code, named as there.

    diffpose_mm
        DiffPose's evaluator: ``xvr_mrpe_mm`` times the pixel size.
    xvr_mpe_mm
        Mean projection error: distance of the projections on one detector (our ``projection_error_mm``).
    xvr_mrpe_mm
        Mean reprojection error: distance of the projections in the world, each on its own pose's detector.
    xvr_mtre_mm
        "Mean target registration error", see above.
    xvr_dgeo_mm
        Double geodesic distance: half the source-to-detector distance times the angle between the poses, and the
        distance between the volume's centre as either places it in the camera frame, as a hypotenuse.
    """

    diffpose_mm: float
    xvr_mpe_mm: float
    xvr_mrpe_mm: float
    xvr_mtre_mm: float
    xvr_dgeo_mm: float


def published_errors(
    estimated: np.ndarray, true: np.ndarray, landmarks: np.ndarray, camera: Camera, isocentre: np.ndarray
) -> PublishedErrors:
    """What those evaluators say of ``estimated`` against ``true`` (poses [4, 4], RAS mm) over landmarks [n, 3] (RAS,
    mm) of a volume whose centre is ``isocentre`` [3] (RAS, mm)."""
    landmarks = np.asarray(landmarks, dtype=np.float64).reshape(-1, 3)
    apart = _on_detector_in_world(estimated, landmarks, camera) - _on_detector_in_world(true, landmarks, camera)
    reprojection = float(np.linalg.norm(apart, axis=-1).mean())
    return PublishedErrors(
        diffpose_mm=reprojection * camera.pixel_spacing_mm[1],
        xvr_mpe_mm=float(projection_errors(estimated, true, landmarks, camera).mean()),
        xvr_mrpe_mm=reprojection,
        xvr_mtre_mm=_moved_by_the_poses(estimated, true, landmarks - isocentre, isocentre),
        xvr_dgeo_mm=_double_geodesic(estimated, true, camera.source_to_detector_mm, isocentre),
    )


def _on_detector_in_world(pose: np.ndarray, landmarks: np.ndarray, camera: Camera) -> np.ndarray:
    """Where the rays to the landmarks [n, 3] meet the pose's detector, in the world [n, 3]."""
    points = in_camera(pose, landmarks)
    return rigid.transform_points(pose, points * (camera.source_to_detector_mm / points[:, 2:]))


def _moved_by_the_poses(estimated: np.ndarray, true: np.ndarray, centred: np.ndarray, isocentre: np.ndarray) -> float:
    """Mean distance between the landmarks [n, 3] (about the volume's centre) moved by the poses as DiffDRR has them."""
    to_centred = np.eye(4)
    to_centred[:3, 3] = -np.asarray(isocentre, dtype=np.float64)
    frame = _OURS_TO_DIFFDRR_CAMERA @ rigid.inverse(_DIFFDRR_AP)
    a, b = (rigid.transform_points(to_centred @ pose @ frame, centred) for pose in (estimated, true))
    return float(np.linalg.norm(a - b, axis=-1).mean())


def _double_geodesic(
    estimated: np.ndarray, true: np.ndarray, source_to_detector_mm: float, isocentre: np.ndarray
) -> float:
    angle = np.linalg.norm(rigid.so3_log(estimated[:3, :3].T @ true[:3, :3]))
    apart = np.linalg.norm(in_camera(estimated, isocentre) - in_camera(true, isocentre))
    return float(np.hypot(source_to_detector_mm / 2 * angle, apart))
