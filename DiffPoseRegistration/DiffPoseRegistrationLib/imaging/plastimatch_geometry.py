"""Projection matrix files of plastimatch: text that `plastimatch drr` writes beside each image.

Numbers, one group a line: the image's centre (column, row); a projection matrix [3, 4] from the CT's physical
coordinates (LPS, mm) to pixels counted from that centre; the source's distances from the isocentre and from the
detector; the direction of the beam; then, under the words ``Extrinsic`` and ``Intrinsic``, the matrix's two factors.
Source: plastimatch's documentation, "Projection matrix file format".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.projection import projection_matrix
from .files import LPS_RAS, write_whole
from .projected_view import ProjectedView

_COUNTS = (2, 4, 4, 4, 1, 1, 3)  # numbers in a file's first lines


def is_plastimatch(path: Path) -> bool:
    """Whether ``path`` is a text file that begins with lines of two and of four numbers."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    with path.open("rb") as stream:
        lines = stream.read(256).decode("utf-8", "replace").splitlines()
    try:
        return [len([float(word) for word in line.split()]) for line in lines[:2]] == list(_COUNTS[:2])
    except ValueError:
        return False


def read_plastimatch(path: Path) -> ProjectedView:
    """The projection in such a file.

    Raises
    ------
    InputError
        Naming the file, if it is incomplete or damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()[: len(_COUNTS)]
        numbers = [[float(word) for word in line.split()] for line in lines]
    except (OSError, ValueError):
        numbers = []
    if [len(line) for line in numbers] != list(_COUNTS):
        raise InputError(f"{path} is no projection matrix of plastimatch that can be read; write it again.")
    from_centre = np.eye(3)
    from_centre[:2, 2] = numbers[0]
    matrix = from_centre @ np.array(numbers[1:4])
    return ProjectedView(matrix, numbers[5][0], in_pixels=True, name=path.name, lab=str(path.resolve().parent))


def write_plastimatch(path: str | Path, camera: Camera, camera_to_world: np.ndarray) -> None:
    """Write a camera at a pose [4, 4] (RAS, mm) as such a file, whose isocentre is the world's origin.

    Raises
    ------
    InputError
        If the image is seen from the detector, for which the format has no word, or the file cannot be written.
    """
    if camera.viewed_from != "source":
        raise InputError(f"{path}: plastimatch's files hold images seen from the source; mirror the image first.")
    distance, centre = camera.source_to_detector_mm, camera.principal_point_px
    extrinsic = rigid.inverse(LPS_RAS @ rigid.validated_pose(camera_to_world))
    in_pixels = projection_matrix(camera, extrinsic)
    from_centre = in_pixels[:2] - np.outer(centre, in_pixels[2])
    matrix = np.vstack([from_centre, in_pixels[2:]]) / distance
    row_mm, column_mm = camera.pixel_spacing_mm
    intrinsic = np.diag([1 / column_mm, 1 / row_mm, 1 / distance])
    to_axis = float(np.linalg.norm(extrinsic[:3, 3]))

    def rows(values: np.ndarray) -> str:
        return "".join(" ".join(f"{value:.15g}" for value in row) + "\n" for row in np.atleast_2d(values))

    text = (
        f"{rows(np.array(centre))}{rows(matrix)}{to_axis:.15g}\n{distance:.15g}\n{rows(extrinsic[2, :3])}"
        f"Extrinsic\n{rows(extrinsic)}Intrinsic\n{rows(np.c_[intrinsic, np.zeros(3)])}"
    )
    write_whole(path, lambda made: made.write_text(text, encoding="utf-8", newline="\n"))
