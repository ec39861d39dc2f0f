"""Segmentations: a whole number for each voxel of a CT, 0 for none of the structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..errors import InputError
from .ct_reader import ijk_to_ras
from .files import existing_file
from .image_file import read_image
from .values import CTVolume


def read_labels(path: str | Path, ct: CTVolume) -> np.ndarray:
    """The labels [k, j, i] of the segmentation in a file, on the voxels of ``ct``; a segmentation on another grid is
    resampled to the nearest voxel, and what lies outside it is 0.

    Raises
    ------
    InputError
        If the file is missing, unreadable, holds no whole numbers, or none of its structures lies in the CT.
    """
    path = existing_file(path, "segmentation")
    try:
        image = read_image(path)
    except RuntimeError:
        raise InputError(f"{path} cannot be read as a segmentation; export it as a NRRD or NIfTI labelmap.") from None
    values = sitk.GetArrayFromImage(image)
    if (
        image.GetDimension() != 3
        or values.ndim != 3
        or not np.isfinite(values).all()
        or (values != np.round(values)).any()
        or values.min() < 0
    ):
        raise InputError(f"{path} is no labelmap: a 3D image of whole numbers, 0 for the background.")
    labels, affine = values.astype(np.int64), ijk_to_ras(image)
    if labels.shape != ct.hounsfield.shape or not np.allclose(affine, ct.ijk_to_ras, atol=1e-3):
        ct_to_labels = (np.linalg.inv(affine) @ ct.ijk_to_ras)[[2, 1, 0, 3]][:, [2, 1, 0, 3]]  # k, j, i
        labels = ndimage.affine_transform(
            labels, ct_to_labels[:3, :3], ct_to_labels[:3, 3], ct.hounsfield.shape, order=0, mode="constant", cval=0
        )
    if not labels.any():
        raise InputError(f"None of the structures of {path} lies in {ct.name}; give the segmentation of this CT.")
    return labels
