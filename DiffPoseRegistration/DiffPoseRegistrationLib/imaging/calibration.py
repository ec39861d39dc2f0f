"""Which X-rays were taken by cameras whose places to one another are known: a biplane system, a tracked C-arm.

A calibration tells for each camera where it stands in one common frame, the *lab*: ``x_camera = lab_to_camera x_lab``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from .calibration_file import is_calibration, read_calibration
from .file_views import read_entry, split_view
from .picture_grid import Picture

LAB_KEY = "lab_to_camera_mm"
_SAME_PLACE = 1e-6


@dataclass(frozen=True)
class Placement:
    """Where a camera stands.

    camera_to_lab
        [4, 4], mm: ``x_lab = camera_to_lab @ x_camera``.
    lab
        Names the common frame: what the camera's file calls its ``lab``, else the JSON or RTK file itself, or the
        folder of a MayaCam or plastimatch file.
    """

    camera_to_lab: np.ndarray
    lab: str


def read_placement(spec: str | Path, picture: Picture | None = None) -> Placement | None:
    """Where the camera of a file (``FILE`` or ``FILE:VIEW`` in JSON, or a calibration of another program) stands; None
    if it does not say. ``picture`` as in ``read_camera``.

    Raises
    ------
    InputError
        If the file cannot be read or its place is no rigid matrix.
    """
    if is_calibration(spec):
        calibration = read_calibration(spec, picture)
        return Placement(calibration.camera_to_lab, calibration.lab)
    entry, name = read_entry(spec, "camera")
    if entry.get(LAB_KEY) is None:
        return None
    lab_to_camera = rigid.validated_pose(entry[LAB_KEY], f"{LAB_KEY} of {name}")
    return Placement(rigid.inverse(lab_to_camera), str(entry.get("lab") or split_view(spec)[0].resolve()))


def are_calibrated(names: Sequence[str], placements: Sequence[Placement | None]) -> bool:
    """Whether X-rays ``names`` share one pose: if the place of every camera is known, in the same lab.

    Raises
    ------
    InputError
        If some places are known and others not, if they are of different labs, or if two X-rays are said to come from
        one camera in one place.
    """
    if all(place is None for place in placements) or len(placements) < 2:
        return False
    without = [name for name, place in zip(names, placements) if place is None]
    remedy = "or register each by itself with --separately"
    if without:
        raise InputError(
            f"Where the camera of {' and '.join(without)} stands is not known, but that of the other X-rays is; give "
            f"each a --camera with '{LAB_KEY}' or of one calibration, {remedy}."
        )
    known = [place for place in placements if place is not None]
    for n, place in enumerate(known):
        if place.lab != known[0].lab:
            raise InputError(
                f"{names[0]} and {names[n]} are calibrated in different labs ({known[0].lab} and {place.lab}); take "
                f"cameras of one calibration (in JSON: views of one file, or the same 'lab'), {remedy}."
            )
        for other in range(n):
            if np.allclose(place.camera_to_lab, known[other].camera_to_lab, atol=_SAME_PLACE):
                raise InputError(
                    f"{names[other]} and {names[n]} have cameras in the very same place; check that each X-ray was "
                    f"given its own --camera, {remedy}."
                )
    return True
