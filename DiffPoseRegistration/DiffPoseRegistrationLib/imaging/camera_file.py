"""Cameras in files: JSON, with one camera or several views, addressed as ``FILE`` or ``FILE:VIEW``, or a
calibration of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.projection import from_projection_matrix
from .calibration_file import is_calibration, read_calibration
from .file_views import read_entry, read_json
from .picture_grid import Picture

MATRIX_KEY = "projection_matrix_px"


def read_camera(spec: str | Path, picture: Picture | None = None) -> Camera:
    """The camera in a JSON file: an object ``camera`` in it, or the camera's own keys at its top level.

    ``FILE:VIEW`` takes one of the file's ``views``. Calibrations of other programs: see :mod:`.calibration_file`; some
    leave the image's size or grid to the ``picture``.

    Raises
    ------
    InputError
        Naming the file and what is missing in it.
    """
    if is_calibration(spec):
        return read_calibration(spec, picture).camera
    entry, name = read_entry(spec, "camera")
    if MATRIX_KEY in entry and "camera" not in entry:
        return read_projection(entry, name)[0]
    camera = entry.get("camera", entry)
    if isinstance(camera, dict) and "viewed_from" in entry:
        camera = {"viewed_from": entry["viewed_from"], **camera}
    return Camera.from_json(camera, name=name)


def read_projection(entry: dict[str, Any], name: str) -> tuple[Camera, np.ndarray]:
    """The camera and ``world_to_camera`` [4, 4] of an entry with a projection matrix (RAS, mm, to pixels).

    Raises
    ------
    InputError
        If the image's size is missing or the matrix is no camera's.
    """
    for key in ("rows", "columns"):
        if entry.get(key) is None:
            raise InputError(f"{name} lacks '{key}', the image size in pixels.")
    size = entry["rows"], entry["columns"]
    return from_projection_matrix(entry[MATRIX_KEY], *size, entry.get("source_to_detector_mm"), name)


def read_views(path: str | Path) -> dict[str, Camera]:
    """Every camera of a JSON file by its view's name; a file with one unnamed camera has the name ``""``.

    Raises
    ------
    InputError
        As :func:`read_camera`.
    """
    views = read_json(Path(path), "camera").get("views")
    if not isinstance(views, dict):
        return {"": read_camera(path)}
    return {view: read_camera(f"{path}:{view}") for view in views}
