"""Cameras of xReg, in which DeepFluoro and Ljubljana state theirs.

Its camera frame has the origin at the source, x along increasing columns, y along increasing rows, and z from the
detector *to* the source. A calibration matrix maps it to pixels with centres at integers; its focal lengths are
negative because all that is seen has a negative z. As the frame is right-handed, the image is seen from the detector.

Sources: rg2/DeepFluoroLabeling-IPCAI2020 ``hdf5_layouts/Readme.md``; rg2/xreg ``xregPerspectiveXform.cpp`` at c2bdd99
(``MakeNaiveIntrins``: the principal point of a centred detector is ``(columns - 1) / 2``).
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.files import LPS_RAS

# From our camera frame (z to the detector, and x against the columns of an image seen from it) to xReg's.
_OURS_TO_XREG = np.diag([-1.0, 1.0, -1.0, 1.0])
_HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
_FOCAL_TOLERANCE = 1e-3


def camera_of(matrix: np.ndarray, rows: int, columns: int, spacing_mm: tuple[float, float], name: str) -> Camera:
    """The camera of xReg's calibration matrix [3, 3] and pixel spacing (row, column).

    Raises
    ------
    InputError
        If the matrix has skew, positive focal lengths, or two that state different distances.
    """
    k = np.asarray(matrix, dtype=np.float64)
    if k.shape != (3, 3) or np.abs(k[[0, 1, 2, 2], [1, 0, 0, 1]]).max() > 1e-6 * np.abs(k).max() or k[2, 2] != 1:
        raise InputError(f"{name}: the calibration matrix has skew or is none; this reader knows none such.")
    if not (k[0, 0] < 0 and k[1, 1] < 0):
        raise InputError(
            f"{name}: the calibration matrix has positive focal lengths, so its camera looks along +z; this reader "
            "knows the data set with negative ones only."
        )
    across, down = -k[0, 0] * spacing_mm[1], -k[1, 1] * spacing_mm[0]
    if abs(across - down) > _FOCAL_TOLERANCE * across:
        raise InputError(
            f"{name}: columns and rows state different distances of the source ({across:.1f} and {down:.1f} mm); this "
            "reader knows none such."
        )
    return Camera((across + down) / 2, rows, columns, spacing_mm, (k[0, 2], k[1, 2]), viewed_from="detector")


def pose_of(camera_to_lps: np.ndarray) -> np.ndarray:
    """Our pose ``camera_to_world`` [4, 4] (RAS, mm) of the motion from xReg's camera frame to LPS, mm."""
    return rigid.validated_pose(LPS_RAS @ camera_to_lps @ _OURS_TO_XREG)


def turned_by_180(camera: Camera, pose: np.ndarray) -> tuple[Camera, np.ndarray]:
    """Camera and pose of the same X-ray after its picture was turned by 180 degrees."""
    column, row = camera.principal_point_px
    turned = Camera(
        camera.source_to_detector_mm,
        camera.rows,
        camera.columns,
        camera.pixel_spacing_mm,
        (camera.columns - 1 - column, camera.rows - 1 - row),
        camera.viewed_from,
    )
    return turned, pose @ _HALF_TURN
