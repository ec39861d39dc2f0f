"""Where a registration may begin: a named view, the C-arm's angles, landmark pairs, or the pose the X-ray has.

Every pose is camera to world [4, 4] (RAS, mm).
"""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry import angles, pose_range
from ..geometry.camera import Camera
from ..geometry.isocentre import SOURCE_TO_ISOCENTRE_SHARE
from ..geometry.pose_from_points import pose_from_points
from . import landmarks, xray_facts, xray_node
from .ct_node import PatientCT


def current_pose(xray: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """The pose that the X-ray has. Raises InputError if it has none."""
    pose = xray_node.pose_of(xray)
    if pose is None:
        raise InputError(_("{name} has no pose yet; register it or place it.").format(name=xray.GetName()))
    return pose


def view_pose(patient: PatientCT, camera: Camera, view: str, source_to_isocentre: float = 0.0) -> np.ndarray:
    """A named view (AP, PA, LL, RL) with its isocentre in the middle of the patient's CT.

    Raises
    ------
    InputError
        If the view is not known or the distance lies beyond the detector.
    """
    return pose_range.view_pose(view, patient.centre_ras, _distance(camera, source_to_isocentre))


def angles_pose(
    patient: PatientCT, xray: slicer.vtkMRMLScalarVolumeNode, source_to_isocentre: float = 0.0
) -> np.ndarray:
    """The pose at the C-arm's angles, which are the patient's on the table, not the CT's: a start, not the truth.

    Raises
    ------
    InputError
        If the angles or the geometry are not known.
    """
    known = xray_facts.angles_of(xray)
    if known is None:
        raise InputError(
            _("The C-arm's angles of {name} are not known; read them from its DICOM file or type them.").format(
                name=xray.GetName()
            )
        )
    distance = _distance(xray_node.require_camera(xray), source_to_isocentre)
    return angles.pose_at_angles(*known, patient.centre_ras, distance)


def landmark_pose(
    ct_points: slicer.vtkMRMLMarkupsNode,
    xray_points: slicer.vtkMRMLMarkupsNode,
    xray: slicer.vtkMRMLScalarVolumeNode,
) -> tuple[np.ndarray, float]:
    """The pose from which landmarks in the CT are seen where they are marked on the X-ray, and the root mean square
    distance (px) that is left.

    Raises
    ------
    InputError
        If the geometry is not known, the points cannot be paired, or they do not tell the pose.
    """
    camera = xray_node.require_camera(xray)
    in_ct, pixels, _numbers = landmarks.point_pairs(ct_points, xray_points, xray)
    return pose_from_points(in_ct, pixels, camera)


def _distance(camera: Camera, source_to_isocentre: float) -> float:
    distance = source_to_isocentre or SOURCE_TO_ISOCENTRE_SHARE * camera.source_to_detector_mm
    if not 0 < distance < camera.source_to_detector_mm:
        raise InputError(
            _("The source-isocentre distance is {a:g} mm, but the detector is {b:g} mm away; give less.").format(
                a=distance, b=camera.source_to_detector_mm
            )
        )
    return distance
