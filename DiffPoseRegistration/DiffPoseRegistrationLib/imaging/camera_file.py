"""Cameras in files: JSON, with one camera or several views, addressed as ``FILE`` or ``FILE:VIEW``, or MayaCam 2.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.projection import from_projection_matrix
from .files import existing_file
from .mayacam import is_mayacam, read_mayacam

MATRIX_KEY = "projection_matrix_px"

# What a file says once for all of its views.
_INHERITED = ("viewed_from", "landmarks_ras_mm", "lab")


def split_view(spec: str | Path) -> tuple[Path, str | None]:
    """``FILE`` or ``FILE:VIEW`` as (file, view); a drive letter (``C:\\x.json``) is no file of its own."""
    text = str(spec)
    if Path(text).exists():
        return Path(text), None
    file, colon, view = text.rpartition(":")
    is_drive_letter = len(file) == 1 and file.isalpha()
    if colon and file and view and not is_drive_letter:
        return Path(file), view
    return Path(text), None


def read_entry(spec: str | Path, what: str) -> tuple[dict[str, Any], str]:
    """The JSON object that ``spec`` (``FILE`` or ``FILE:VIEW``) addresses, and its name for messages.

    Raises
    ------
    InputError
        If the file is missing or no JSON, if the view is not in it, or if it has several and none was named.
    """
    path, view = split_view(spec)
    data = _read_json(path, what)
    views = data.get("views")
    if views is None:
        if view is not None:
            raise InputError(f"{path} holds a single view without a name; leave out ':{view}'.")
        return data, path.name
    if not isinstance(views, dict) or not views or not all(isinstance(v, dict) for v in views.values()):
        raise InputError(f"{path}: 'views' must be a JSON object with one object for each view.")
    names = ", ".join(views)
    if view is None:
        if len(views) > 1:
            raise InputError(f"{path} holds several views ({names}); name one, as in {path.name}:{next(iter(views))}.")
        view = next(iter(views))
    if view not in views:
        raise InputError(f"{path} has no view '{view}'; it has {names}.")
    inherited = {key: data[key] for key in _INHERITED if key in data}
    return {**inherited, **views[view]}, f"{path.name}:{view}"


def read_camera(spec: str | Path) -> Camera:
    """The camera in a JSON file: an object ``camera`` in it, or the camera's own keys at its top level.

    ``FILE:VIEW`` takes one of the file's ``views``; a ``.txt`` is a calibration file, see :mod:`.mayacam`.

    Raises
    ------
    InputError
        Naming the file and what is missing in it.
    """
    path, view = split_view(spec)
    if view is None and is_mayacam(path):
        return read_mayacam(path)[0]
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
    views = _read_json(Path(path), "camera").get("views")
    if not isinstance(views, dict):
        return {"": read_camera(path)}
    return {view: read_camera(f"{path}:{view}") for view in views}


def _read_json(path: Path, what: str) -> dict[str, Any]:
    existing_file(path, what)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is no readable JSON ({error}); give the {what} as a JSON file.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no JSON object; give the {what} as a JSON object.")
    return data
