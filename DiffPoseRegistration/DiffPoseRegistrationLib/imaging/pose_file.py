"""Poses in files: JSON in RAS, and ITK transform files as 3D Slicer saves and loads them.

An ITK file is in LPS and maps in the *resampling* direction (Slicer's "from parent"), so it holds
``L inverse(camera_to_world) L`` with L = diag(-1, -1, 1, 1), possibly about a centre. SimpleITK
applies the centre; nothing here reads a parameter by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..geometry import rigid
from . import landmark_file
from .calibration_file import is_calibration, read_calibration
from .camera_file import MATRIX_KEY, read_projection
from .file_views import read_entry, split_view
from .files import LPS_RAS, existing_file, write_whole
from .image_file import call_simpleitk
from .picture_grid import Picture

ITK_SUFFIXES = (".h5", ".hdf5", ".tfm", ".txt", ".mat", ".xfm")
WRITABLE_SUFFIXES = (".h5", ".tfm")
POSE_KEY = "camera_to_world_ras_mm"


@dataclass(frozen=True)
class Truth:
    """A known pose: ``camera_to_world`` [4, 4] and, where the file has them, landmarks [n, 3] (RAS, mm)."""

    camera_to_world: np.ndarray
    landmarks_ras_mm: np.ndarray | None


def read_pose(spec: str | Path, picture: Picture | None = None) -> np.ndarray:
    """Pose ``camera_to_world`` [4, 4] (RAS, mm) from a JSON file (``FILE`` or ``FILE:VIEW``), from a linear transform
    that 3D Slicer saved (.h5, .tfm, .txt), or from a geometry of RTK or plastimatch for the X-ray ``picture``.

    Raises
    ------
    InputError
        If the file is missing, holds no pose, or its transform is not rigid.
    """
    if _is_json(spec):
        return _pose_of_entry(*read_entry(spec, "pose"))
    if is_calibration(spec):
        calibration = read_calibration(spec, picture)
        if not calibration.is_world:
            raise InputError(f"{spec} says where a camera stands in its lab, not in the CT; give a pose.")
        return calibration.camera_to_lab
    return _read_itk(split_view(spec)[0])


def read_truth(spec: str | Path, picture: Picture | None = None) -> Truth:
    """The known pose and the landmarks in a JSON file (``FILE`` or ``FILE:VIEW``), or the pose alone from another file.

    Raises
    ------
    InputError
        As :func:`read_pose`, and if landmarks are no list of three numbers each.
    """
    if not _is_json(spec):
        return Truth(read_pose(spec, picture), None)
    entry, name = read_entry(spec, "reference pose")
    landmarks = entry.get(landmark_file.KEY)
    if landmarks is not None:
        landmarks = landmark_file.points(landmarks, f"{name}: {landmark_file.KEY}")
    return Truth(_pose_of_entry(entry, name), landmarks)


def write_pose(path: str | Path, camera_to_world: np.ndarray) -> None:
    """Write the pose [4, 4] (RAS, mm) as an ITK transform (.h5 or .tfm) that 3D Slicer opens as the
    transform node whose matrix to parent is ``camera_to_world``.

    Raises
    ------
    InputError
        If the pose is not rigid, the suffix is another, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise InputError(f"{path} must end in {' or '.join(WRITABLE_SUFFIXES)}, the transform files of 3D Slicer.")
    from_parent = LPS_RAS @ rigid.inverse(rigid.validated_pose(camera_to_world)) @ LPS_RAS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(from_parent[:3, :3].ravel().tolist())
    transform.SetTranslation(from_parent[:3, 3].tolist())
    write_whole(path, lambda made: sitk.WriteTransform(transform, str(made)))


def _is_json(spec: str | Path) -> bool:
    path, view = split_view(spec)
    return not is_calibration(spec) and (view is not None or path.suffix.lower() not in ITK_SUFFIXES)


def _pose_of_entry(entry: dict, name: str) -> np.ndarray:
    if POSE_KEY not in entry and MATRIX_KEY in entry:
        return rigid.validated_pose(rigid.inverse(read_projection(entry, name)[1]), f"{MATRIX_KEY} of {name}")
    if POSE_KEY not in entry:
        raise InputError(f"{name} has no '{POSE_KEY}'; give a 4x4 matrix under that name, or a .h5 or .tfm transform.")
    return rigid.validated_pose(entry[POSE_KEY], f"{POSE_KEY} of {name}")


def _read_itk(path: Path) -> np.ndarray:
    existing_file(path, "transform")
    try:
        transform = call_simpleitk(lambda paths: sitk.ReadTransform(paths[0]), [path])
    except RuntimeError:
        raise InputError(
            f"{path} is no transform that can be read; save the transform from 3D Slicer as .h5 or .tfm."
        ) from None
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise InputError(f"{path} holds no linear 3D transform; a pose is a rotation and a translation.")
    # Images of the origin and the unit points: true whatever the centre, type or composition.
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    from_parent = np.eye(4)
    from_parent[:3, 3] = origin
    for axis in range(3):
        from_parent[:3, axis] = np.array(transform.TransformPoint(tuple(np.eye(3)[axis]))) - origin
    return rigid.inverse(rigid.validated_pose(LPS_RAS @ from_parent @ LPS_RAS, f"The transform in {path.name}"))
