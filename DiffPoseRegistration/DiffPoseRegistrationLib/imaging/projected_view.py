"""A view as reconstruction programs write it: a projection matrix in the CT's physical coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.projection import from_projection_matrix
from .files import LPS_RAS
from .picture_grid import PictureGrid


@dataclass(frozen=True)
class ProjectedView:
    """One projection of a file.

    matrix
        [3, 4], from LPS (mm) to the detector; its third coordinate is positive in front of the source.
    source_to_detector_mm
        As the file states it.
    in_pixels
        Whether the matrix ends in pixels (column, row), or in the physical coordinates (mm) of the image.
    name, lab
        For messages; and what views share whose places are known to one another.
    """

    matrix: np.ndarray
    source_to_detector_mm: float
    in_pixels: bool
    name: str
    lab: str

    def camera_and_pose(self, picture: PictureGrid | None) -> tuple[Camera, np.ndarray]:
        """The camera that took ``picture``, and its pose ``camera_to_world`` [4, 4] (RAS, mm).

        Raises
        ------
        InputError
            If what the file leaves to the image is not known, or the matrix is no camera's.
        """
        if picture is None:
            raise InputError(f"{self.name} does not state the image's size; give it together with its X-ray.")
        if self.in_pixels:
            matrix = self.matrix
        elif picture.to_physical is None:
            raise InputError(
                f"{self.name} counts in mm from the image's own origin, which the X-ray's format does not hold; save "
                "the X-ray as .mha, .nrrd or .nii with its origin and spacing."
            )
        else:
            matrix = np.linalg.solve(picture.to_physical, self.matrix)
        camera, world_to_camera = from_projection_matrix(
            matrix @ LPS_RAS, picture.rows, picture.columns, self.source_to_detector_mm, self.name
        )
        return camera, np.linalg.inv(world_to_camera)
