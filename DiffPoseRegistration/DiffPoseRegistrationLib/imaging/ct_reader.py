"""CT volumes from files: anything SimpleITK reads, and folders of DICOM slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .ct_series import read_series
from .ct_size import of_reasonable_size
from .files import LPS_RAS, existing_file
from .image_file import read_image
from .values import CTVolume
from .volume_mapping import VolumeMapping, chosen_mapping

AIR_HU = -1024.0
# Below this no scanner's scale goes; such values pad the outside of the reconstruction circle (-2000, -3024, -32768).
_PADDING_HU = -1100.0
_SURELY_AIR_HU = -200.0  # fat is about -100: less is air, lung or gas
_FAT_HU = -20.0
_HIGHEST_HU = 31000.0  # metal on an extended CT scale; more is another quantity
_LOOKS_LIKE = "in Hounsfield units air is about -1000, water 0 and bone 300 to 2000"


def read_ct(path: str | Path, mapping: VolumeMapping | str = "ct") -> CTVolume:
    """The CT in a file (NRRD, NIfTI, MetaImage, ... whatever SimpleITK reads) or in a folder of DICOM slices.

    In a folder with several series the largest CT series is taken. Padding below air becomes air (-1024 HU); a series
    that is no even stack becomes one, a huge volume a smaller one. What was done is in the volume's ``warnings``.

    Parameters
    ----------
    mapping
        What makes Hounsfield units of the values of a volume that is no CT; a mapping, or the name of one as for
        :func:`.volume_mapping.chosen_mapping`.

    Raises
    ------
    InputError
        If the file is missing, unreadable, no volume, not finite or not in Hounsfield units, or if a
        series' slices cannot be made an even stack.
    """
    path = Path(path)
    found = read_series(path) if path.is_dir() else path
    warnings: tuple[str, ...] = ()
    if isinstance(found, Path):
        voxels, affine = _read_file(found)
        name = path.name
    else:
        voxels, affine, name, warnings = found.voxels, found.ijk_to_ras, found.name, found.warnings
    if isinstance(mapping, str):
        mapping = chosen_mapping(mapping, voxels, name)
    voxels, affine, done = of_reasonable_size(mapping(voxels), affine, name)
    volume = CTVolume(voxels, affine, name)  # checks
    hounsfield = volume.hounsfield if mapping.points else _hounsfield(volume.hounsfield, name)
    return CTVolume(hounsfield, volume.ijk_to_ras, name, (*warnings, *done), mapping)


def ijk_to_ras(image: sitk.Image) -> np.ndarray:
    """Affine [4, 4] from voxel indices (i, j, k) to RAS mm of a 3D SimpleITK image, which is in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS_RAS @ affine


def _hounsfield(values: np.ndarray, name: str) -> np.ndarray:
    """``values`` with padding made air, if they can be Hounsfield units at all."""
    lowest, highest = float(values.min()), float(values.max())
    if lowest >= 0 and highest <= 255:
        raise InputError(
            f"{name} has values from {lowest:g} to {highest:g} like an 8-bit picture, but {_LOOKS_LIKE}; give the CT "
            "itself rather than an export for display."
        )
    if highest > _HIGHEST_HU:
        raise InputError(
            f"{name} reaches {highest:g}, which no Hounsfield unit does ({_LOOKS_LIKE}); export the CT in Hounsfield "
            "units."
        )
    if highest <= _SURELY_AIR_HU:
        raise InputError(
            f"{name} holds nothing but air (its highest value is {highest:g}), but {_LOOKS_LIKE}; give the CT of the "
            "patient."
        )
    padding = values < _PADDING_HU
    has_air = bool(((values <= _SURELY_AIR_HU) & ~padding).any())
    # A CT cut out of its surroundings may keep no air but the padding; its fat is still below water.
    has_fat_beside_padding = bool(padding.any() and (~padding).any() and values[~padding].min() < _FAT_HU)
    if not has_air and not has_fat_beside_padding:
        raise InputError(
            f"{name} has no voxel of air (its lowest value is {lowest:g}), but {_LOOKS_LIKE}; export the CT in "
            "Hounsfield units, with rescale slope and intercept applied."
        )
    return np.maximum(values, np.float32(AIR_HU))


def _read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [k, j, i] and their affine [4, 4]."""
    existing_file(path, "CT")
    try:
        image = read_image(path)
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(f"{path} has sheared axes; resample the CT to perpendicular axes and save it.") from None
        raise InputError(
            f"{path} cannot be read as a CT: it is damaged, incomplete or of an unknown format; export it again as "
            "NRRD, NIfTI, MetaImage or a DICOM folder."
        ) from None
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{path} holds several values a voxel (colour or vectors); give a CT with one value a voxel.")
    if image.GetDimension() != 3:
        raise InputError(
            f"{path} has {image.GetDimension()} dimensions; a CT has three, so export it as one 3D volume."
        )
    # A view would outlive its image; a copy in the file's own type is the smallest there is.
    return sitk.GetArrayFromImage(image), ijk_to_ras(image)
