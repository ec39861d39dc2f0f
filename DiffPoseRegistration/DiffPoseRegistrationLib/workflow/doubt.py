"""How far off a found pose may be, in millimetres and in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import rigid
from ..refinement.schedule import IntrinsicsTolerance
from ..refinement.uncertainty import point_covariance

# Calibrated views of the shared cases agree to 0.06 mm, a real wrist's to 0.25 mm; with one camera's place wrong by a
# degree or 2 mm they disagree by half a millimetre and more.
ACCEPTED_DISAGREEMENT_MM = 0.5
_EDGE = 0.99
_NEARLY_ALONG = np.cos(np.deg2rad(30.0))
_PATIENT_AXES = (
    "along the patient's left-right axis",
    "along the patient's front-back axis",
    "along the patient's head-feet axis",
)


@dataclass(frozen=True)
class PredictedError:
    """Predicted root-mean-square errors (mm) of where a pose places points of the patient.

    overall_mm
        Over all points; points_mm [n]: of each.
    weak_mm, weak_direction_ras, weak_words
        In the direction [3] of the largest error, and that direction in words.
    other_mm
        In the two directions across the weak one.
    """

    overall_mm: float
    points_mm: np.ndarray
    weak_mm: float
    weak_direction_ras: np.ndarray
    weak_words: str
    other_mm: float


def predicted_error(
    covariance: np.ndarray, points: np.ndarray, isocentre: np.ndarray, poses: list[np.ndarray]
) -> PredictedError:
    """From the covariance [6, 6] of the twist about ``isocentre``, at points [n, 3] (RAS), for the views' ``poses``
    [4, 4]."""
    of_points = point_covariance(covariance, points, isocentre)
    squares = np.maximum(np.trace(of_points, axis1=1, axis2=2), 0.0)
    mean = of_points.mean(axis=0)
    if not np.isfinite(mean).all():
        nothing = np.full(len(points), np.nan)
        return PredictedError(np.nan, nothing, np.nan, np.full(3, np.nan), "nowhere", np.nan)
    variances, directions = np.linalg.eigh(mean)
    weak = directions[:, 2] * np.sign(directions[np.argmax(np.abs(directions[:, 2])), 2])
    return PredictedError(
        overall_mm=float(np.sqrt(squares.mean())),
        points_mm=np.sqrt(squares),
        weak_mm=float(np.sqrt(max(variances[2], 0.0))),
        weak_direction_ras=weak,
        weak_words=_in_words(weak, poses),
        other_mm=float(np.sqrt(max(variances[0] + variances[1], 0.0))),
    )


def disagreement_mm(shared: np.ndarray, alone: np.ndarray, points: np.ndarray) -> float:
    """How far apart two poses [4, 4] of one camera place ``points`` [n, 3] (RAS, mm) across the beam, where a view
    sees well: root mean square, mm."""
    moved = rigid.transform_points(rigid.inverse(shared), points) - rigid.transform_points(rigid.inverse(alone), points)
    return float(np.sqrt((moved[:, :2] ** 2).sum(axis=1).mean()))


def doubts_about_views(disagreements_mm: list[float]) -> list[str]:
    """What to say if calibrated views would have the patient in different places."""
    worst = max(disagreements_mm, default=0.0)
    if worst <= ACCEPTED_DISAGREEMENT_MM:
        return []
    return [
        f"the X-rays disagree by {worst:.1f} mm; check that the cameras' calibration holds and that the patient did "
        "not move between them"
    ]


def doubts_about_cameras(offsets: list[np.ndarray], tolerance: IntrinsicsTolerance) -> list[str]:
    """What to say if a camera that was refined, by ``offsets`` [3] (principal point, source distance) each, would leave
    its tolerance."""
    doubts = []
    for names, limit, what in (
        ((0, 1), tolerance.principal_point_px, "principal point"),
        ((2,), tolerance.source_to_detector_mm, "source-to-detector distance"),
    ):
        if limit > 0 and any(abs(offset[n]) > _EDGE * limit for offset in offsets for n in names):
            doubts.append(f"the {what} ended at the edge of its tolerance; it may be further off")
    return doubts


def _in_words(direction: np.ndarray, poses: list[np.ndarray]) -> str:
    """Of one view in terms of its image, of several in the patient's, as their beams differ."""
    if len(poses) == 1:
        along = np.abs(poses[0][:3, :3].T @ direction)
        if along[2] > _NEARLY_ALONG:
            return "along the beam"
        if along[2] > 0.5:
            return "oblique to the beam"
        return "across the beam"
    nearest = int(np.argmax(np.abs(direction)))
    if abs(direction[nearest]) > _NEARLY_ALONG:
        return _PATIENT_AXES[nearest]
    return "obliquely ({:+.1f} R, {:+.1f} A, {:+.1f} S)".format(*direction)
