"""Geometry files of the Reconstruction Toolkit (RTK): XML, with a projection matrix for each image of a scan.

A matrix takes the scan's coordinates, ITK's physical ones (LPS, mm) where the CT's file says so, to the detector's
physical coordinates (mm), which the image's own origin, spacing and direction turn into pixels; its third coordinate is
negative in front of the source. Source: RTK's documentation, "3D Circular Projection Geometry" (version 3 of the file).
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.projection import projection_matrix
from .files import LPS_RAS, write_whole
from .projected_view import ProjectedView

_ROOT = "RTKThreeDCircularGeometry"
_MOST_BYTES = 2**24  # ten thousand projections take three million


def is_rtk(path: Path) -> bool:
    """Whether ``path`` is an XML file that begins as RTK's do."""
    if path.suffix.lower() != ".xml" or not path.is_file():
        return False
    with path.open("rb") as stream:
        return b"RTK" in stream.read(512)


def read_rtk(path: Path, view: str | None) -> ProjectedView:
    """The projection of number ``view`` (from 0; None: the only one).

    Raises
    ------
    InputError
        Naming the file and what is missing or wrong in it.
    """
    root = _root(path)
    projections = root.findall("Projection")
    number = _number_of(path, view, len(projections))
    projection = projections[number]
    name = f"{path.name}:{number}"
    distance = _value(root, projection, "SourceToDetectorDistance", name)
    if distance == 0:
        raise InputError(f"{name} is a parallel projection; an X-ray comes from a point, so give its distances.")
    if _value(root, projection, "RadiusCylindricalDetector", name):
        raise InputError(f"{name} has a cylindrical detector; resample the image to a flat one.")
    text = projection.findtext("Matrix")
    try:
        matrix = np.array([float(word) for word in (text or "").split()]).reshape(3, 4)
    except ValueError:
        raise InputError(
            f"{name} has no 'Matrix' of 3 x 4 numbers; write the geometry with RTK, which adds them."
        ) from None
    return ProjectedView(-matrix, abs(distance), in_pixels=False, name=name, lab=str(path.resolve()))


def write_rtk(path: str | Path, camera: Camera, camera_to_world: np.ndarray) -> None:
    """Write a camera at a pose [4, 4] (RAS, mm) as a geometry of one projection. It holds for an image whose origin is
    0, 0 and whose spacing is the camera's.

    Raises
    ------
    InputError
        If the image is seen from the source, which takes an image with a mirrored direction, or the file cannot be
        written.
    """
    if camera.viewed_from != "detector":
        raise InputError(f"{path}: an RTK geometry holds images seen from the detector; mirror the image first.")
    row_mm, column_mm = camera.pixel_spacing_mm
    pose = LPS_RAS @ rigid.validated_pose(camera_to_world)
    matrix = -np.diag([column_mm, row_mm, 1.0]) @ projection_matrix(camera, rigid.inverse(pose))
    lines = [f"    <{key}>{value:.15g}</{key}>" for key, value in _parameters(camera, pose).items()]
    numbers = "\n".join("      " + " ".join(f"{value:.15g}" for value in row) for row in matrix)
    text = (
        f'<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>\n<{_ROOT} version="3">\n  <Projection>\n'
        + "\n".join(lines)
        + f"\n    <Matrix>\n{numbers}\n    </Matrix>\n  </Projection>\n</{_ROOT}>\n"
    )
    write_whole(path, lambda made: made.write_text(text, encoding="utf-8", newline="\n"))


def _parameters(camera: Camera, camera_to_lps: np.ndarray) -> dict[str, float]:
    """RTK's nine numbers: angles in degrees, lengths in mm."""
    # RTK's rotated axes: along the image's columns and rows, and towards the source.
    rotation = (camera_to_lps[:3, :3] * [-1, 1, -1]).T
    in_plane, out_of_plane, gantry = -Rotation.from_matrix(rotation).as_euler("ZXY", degrees=True)
    source = rotation @ camera_to_lps[:3, 3]
    (column, row), (row_mm, column_mm) = camera.principal_point_px, camera.pixel_spacing_mm
    return {
        "SourceToIsocenterDistance": source[2],
        "SourceToDetectorDistance": camera.source_to_detector_mm,
        "GantryAngle": gantry % 360,
        "OutOfPlaneAngle": out_of_plane % 360,
        "InPlaneAngle": in_plane % 360,
        "SourceOffsetX": source[0],
        "SourceOffsetY": source[1],
        "ProjectionOffsetX": source[0] - column * column_mm,
        "ProjectionOffsetY": source[1] - row * row_mm,
    }


def _root(path: Path) -> ElementTree.Element:
    unreadable = InputError(f"{path} is no RTK geometry that can be read; write it again with RTK.")
    if path.stat().st_size > _MOST_BYTES:
        raise unreadable
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = ElementTree.fromstring("" if "<!ENTITY" in text else text)
    except (OSError, ValueError, ElementTree.ParseError):
        raise unreadable from None
    if root.tag != _ROOT or root.find("Projection") is None:
        raise unreadable
    return root


def _number_of(path: Path, view: str | None, count: int) -> int:
    if view is None and count > 1:
        raise InputError(f"{path} holds {count} projections; name one, from 0, as in {path.name}:0.")
    number = int(view) if view is not None and view.isascii() and view.isdigit() else -1
    if view is not None and not 0 <= number < count:
        raise InputError(f"{path} has no projection '{view}'; they are numbered from 0 to {count - 1}.")
    return max(number, 0)


def _value(root: ElementTree.Element, projection: ElementTree.Element, key: str, name: str) -> float:
    """A parameter, which stands with the projection or once for all; 0 where it is left out."""
    text = projection.findtext(key) or root.findtext(key) or "0"
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name} has '{text.strip()}' as {key}; write the geometry again with RTK.") from None
