"""Calibration files of XMALab and Autoscoper (MayaCam 2.0): a camera, and where it stands in the lab.

Text with a heading and comma-separated numbers below it: ``image size`` (width, height), ``camera matrix`` K [3, 3] in
pixels, ``rotation`` R [3, 3] and ``translation`` t [3], with ``x_camera = R x_lab + t`` as in OpenCV, in millimetres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.projection import projection_matrix
from .files import existing_file, write_whole

_COUNTS = {"image size": 2, "camera matrix": 9, "rotation": 9, "translation": 3}


def is_mayacam(path: Path) -> bool:
    """Whether ``path`` is a text file that begins as such files do."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(b"image size")


def read_mayacam(path: str | Path) -> tuple[Camera, np.ndarray]:
    """The camera in a MayaCam 2.0 file, and the pose ``lab_to_camera`` [4, 4] (mm).

    Raises
    ------
    InputError
        Naming the file and what is missing or wrong in it.
    """
    path = existing_file(path, "camera")
    try:
        numbers = _numbers(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, ValueError, OSError):
        raise InputError(f"{path} is no MayaCam 2.0 file that can be read; export the calibration again.") from None
    for heading, count in _COUNTS.items():
        if len(numbers.get(heading, [])) != count:
            raise InputError(
                f"{path} has {len(numbers.get(heading, []))} numbers under '{heading}' where a MayaCam 2.0 file has "
                f"{count}; export the calibration again, or give the camera as JSON."
            )
    distortion = [value for heading, values in numbers.items() if "distortion" in heading for value in values]
    if any(distortion):
        raise InputError(f"{path} has lens distortion; undistort the X-ray and export its camera without.")
    columns, rows = map(round, numbers["image size"])
    if [columns, rows] != numbers["image size"]:
        raise InputError(f"{path} has an 'image size' that is no whole number of pixels; export the calibration again.")
    matrix = np.array(numbers["camera matrix"]).reshape(3, 3)
    camera = Camera.from_intrinsic_matrix(matrix, rows, columns, name=path.name)
    pose = np.eye(4)
    pose[:3, :3] = np.array(numbers["rotation"]).reshape(3, 3)
    pose[:3, 3] = numbers["translation"]
    return camera, rigid.validated_pose(pose, f"Rotation and translation in {path.name}")


def write_mayacam(path: str | Path, camera: Camera, lab_to_camera: np.ndarray) -> None:
    """Write a camera and its place [4, 4] (mm) as a MayaCam 2.0 file, which :func:`read_mayacam` and its programs read.

    Raises
    ------
    InputError
        If the image is seen from the detector, for which the format has no word, or the file cannot be written.
    """
    if camera.viewed_from != "source":
        raise InputError(f"{path}: a MayaCam 2.0 file holds images seen from the source; mirror the image first.")
    matrix = projection_matrix(camera, np.eye(4))[:, :3]
    place = rigid.validated_pose(lab_to_camera, "The camera's place")

    def rows(values: np.ndarray) -> str:
        return "".join(",".join(f"{value:.12g}" for value in row) + "\n" for row in values)

    text = (
        f"image size\n{camera.columns},{camera.rows}\n\ncamera matrix\n{rows(matrix)}\n"
        f"rotation\n{rows(place[:3, :3])}\ntranslation\n{rows(place[:3, 3:])}"
    )
    write_whole(path, lambda made: made.write_text(text, encoding="utf-8", newline="\n"))


def _numbers(text: str) -> dict[str, list[float]]:
    """The numbers under each heading, in lower case."""
    found: dict[str, list[float]] = {}
    heading = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line[0].isalpha():
            heading = line.lower()
            found[heading] = []
        else:
            found.setdefault(heading, []).extend(float(part) for part in line.split(",") if part.strip())
    return found
