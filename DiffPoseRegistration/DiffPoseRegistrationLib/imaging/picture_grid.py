"""Where the pixels of a picture lie in the plane that its file speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .dicom_file import DicomFile
from .files import existing_file
from .image_file import picture_header
from .picture_file import PICTURE_SUFFIXES

_WITHOUT_ORIGIN = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class PictureGrid:
    """Size of a picture in pixels, and the affine [3, 3] from (column, row, 1) to the physical coordinates (mm) of its
    file; None where the format has none."""

    rows: int
    columns: int
    to_physical: np.ndarray | None = None


# An X-ray's grid, or the file to take it from when it is asked for.
Picture = PictureGrid | str | Path


def picture_grid(path: str | Path) -> PictureGrid:
    """The grid of an X-ray, by its header alone.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    path = existing_file(path, "X-ray")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        file = DicomFile(path, with_pixels=False)
        return PictureGrid(file.rows, file.columns)
    try:
        header = picture_header(path)
    except RuntimeError:
        raise InputError(
            f"{path} cannot be read as an image; export it again as PNG, TIFF, MetaImage or NRRD."
        ) from None
    columns, rows = header.GetSize()[:2]
    if path.suffix.lower() in _WITHOUT_ORIGIN:
        return PictureGrid(rows, columns)
    dimension = header.GetDimension()
    direction = np.array(header.GetDirection()).reshape(dimension, dimension)[:2, :2]
    to_physical = np.eye(3)
    to_physical[:2, :2] = direction * header.GetSpacing()[:2]
    to_physical[:2, 2] = header.GetOrigin()[:2]
    return PictureGrid(rows, columns, to_physical)
