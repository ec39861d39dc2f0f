"""Files of other programs that say what a camera is like and where it stands: MayaCam 2.0, RTK, plastimatch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..geometry import rigid
from ..geometry.camera import Camera
from .file_views import split_view
from .mayacam import is_mayacam, read_mayacam
from .picture_grid import Picture, PictureGrid, picture_grid
from .plastimatch_geometry import is_plastimatch, read_plastimatch
from .projected_view import ProjectedView
from .rtk_geometry import is_rtk, read_rtk


@dataclass(frozen=True)
class CalibrationFile:
    """A camera and where it stands.

    camera_to_lab
        [4, 4], mm: ``x_lab = camera_to_lab @ x_camera``.
    lab
        Names the frame: cameras of one lab stand in known places to one another.
    is_world
        Whether the lab is the CT's world (RAS), so that the place is the pose.
    """

    camera: Camera
    camera_to_lab: np.ndarray
    lab: str
    is_world: bool


def is_calibration(spec: str | Path) -> bool:
    """Whether ``spec`` (``FILE``, or ``FILE:NUMBER`` in an RTK geometry) addresses such a file."""
    path, view = split_view(spec)
    return is_rtk(path) or (view is None and (is_mayacam(path) or is_plastimatch(path)))


def read_calibration(spec: str | Path, picture: Picture | None = None) -> CalibrationFile:
    """What such a file says of the camera that took ``picture``.

    Raises
    ------
    InputError
        If it cannot be read, or leaves something to the image and there is no ``picture`` to say it.
    """
    path, view = split_view(spec)
    if is_mayacam(path):
        camera, lab_to_camera = read_mayacam(path)
        return CalibrationFile(camera, rigid.inverse(lab_to_camera), str(path.resolve().parent), False)
    projected: ProjectedView = read_rtk(path, view) if is_rtk(path) else read_plastimatch(path)
    grid = picture if picture is None or isinstance(picture, PictureGrid) else picture_grid(picture)
    camera, pose = projected.camera_and_pose(grid)
    return CalibrationFile(camera, pose, projected.lab, True)
