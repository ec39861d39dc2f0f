"""Pixels of pictures: PNG, TIFF, JPEG, BMP, and the formats of volumes when they hold one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .image_file import read_image

PICTURE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nrrd", ".nhdr", ".nii", ".gz", ".mha", ".mhd",
)  # fmt: skip
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def read_picture(path: Path) -> np.ndarray:
    """Pixels [row, column] of a picture that SimpleITK reads; colour as luminance.

    Raises
    ------
    InputError
        If it cannot be read or is a volume.
    """
    try:
        image = read_image(path)
    except RuntimeError:
        raise InputError(
            f"{path} cannot be read as an image: it is damaged, incomplete or of an unknown format; export it again as "
            "PNG, TIFF or DICOM."
        ) from None
    values = sitk.GetArrayFromImage(image)
    channels = image.GetNumberOfComponentsPerPixel()
    shape = values.shape[:-1] if channels > 1 else values.shape
    if len(shape) < 2 or any(n != 1 for n in shape[:-2]):
        size = " x ".join(str(n) for n in image.GetSize())
        raise InputError(f"{path} is a volume of {size} voxels; an X-ray is one 2D image, so give a single image file.")
    return grey(values.reshape(*shape[-2:], *values.shape[len(shape) :]))


def grey(values: np.ndarray) -> np.ndarray:
    """Luminance [row, column] of grey or colour [row, column, channel]; an alpha channel is left out."""
    if values.ndim == 2:
        return values
    if values.shape[2] < 3:
        return values[..., 0]
    if (values[..., 0] == values[..., 1]).all() and (values[..., 0] == values[..., 2]).all():
        return values[..., 0]
    return values[..., :3] @ _LUMINANCE
