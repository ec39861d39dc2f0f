"""The camera of an X-ray whose stored image was turned or mirrored: the same source, detector and patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .camera import Camera


def turned_clockwise(camera: Camera) -> tuple[Camera, np.ndarray]:
    """The camera of the image turned by 90 degrees clockwise (``numpy.rot90(image, -1)``), and the rotation [4, 4]
    that takes the old camera frame to the new one: the frame turns with the image's rows and columns.

    A pose ``camera_to_world`` becomes ``camera_to_world @ inverse(rotation)``.
    """
    c0, r0 = camera.principal_point_px
    row_mm, column_mm = camera.pixel_spacing_mm
    turned = replace(
        camera,
        rows=camera.columns,
        columns=camera.rows,
        pixel_spacing_mm=(column_mm, row_mm),
        principal_point_px=(camera.rows - 1 - r0, c0),
    )
    # Rows ran down; now they run to the left: the new column grows against the old row.
    rotation = np.eye(4)
    rotation[:2, :2] = [[0.0, -camera.u_sign], [camera.u_sign, 0.0]]
    return turned, rotation


def mirrored(camera: Camera) -> Camera:
    """The camera of the image mirrored left to right (``image[:, ::-1]``): it is then seen from the other side, and the
    pose stays."""
    c0, r0 = camera.principal_point_px
    side = "detector" if camera.viewed_from == "source" else "source"
    return replace(camera, principal_point_px=(camera.columns - 1 - c0, r0), viewed_from=side)
