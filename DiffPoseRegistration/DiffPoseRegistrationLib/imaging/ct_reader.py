"""CT volumes from files: anything SimpleITK reads, and folders of DICOM slices."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .files import LPS_RAS, call_simpleitk, existing_file, read_image
from .values import CTVolume

_log = logging.getLogger(__name__)

AIR_HU = -1024.0
# Below this no scanner's scale goes; such values pad the outside of the reconstruction circle (-2000, -3024, -32768).
_PADDING_HU = -1100.0
_SURELY_AIR_HU = -200.0  # fat is about -100: less is air, lung or gas
_FAT_HU = -20.0
_HIGHEST_HU = 31000.0  # metal on an extended CT scale; more is another quantity
_LOOKS_LIKE = "in Hounsfield units air is about -1000, water 0 and bone 300 to 2000"


def read_ct(path: str | Path) -> CTVolume:
    """The CT in a file (NRRD, NIfTI, MetaImage, ... whatever SimpleITK reads) or in a folder of DICOM slices.

    In a folder with several series the largest CT series is taken; the log and the volume's name say
    which. Padding below air becomes air (-1024 HU).

    Raises
    ------
    InputError
        If the file is missing, unreadable, no volume, not finite or not in Hounsfield units, or if a
        series' slices do not form an even stack.
    """
    path = Path(path)
    image, name = _read_folder(path) if path.is_dir() else (_read_file(path), path.name)
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{path} holds several values a voxel (colour or vectors); give a CT with one value a voxel.")
    if image.GetDimension() != 3:
        raise InputError(
            f"{path} has {image.GetDimension()} dimensions; a CT has three, so export it as one 3D volume."
        )
    volume = CTVolume(sitk.GetArrayViewFromImage(image), ijk_to_ras(image), name)
    return CTVolume(_hounsfield(volume.hounsfield, name), volume.ijk_to_ras, name)


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


def _read_file(path: Path) -> sitk.Image:
    existing_file(path, "CT")
    try:
        return read_image(path)
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(f"{path} has sheared axes; resample the CT to perpendicular axes and save it.") from None
        raise InputError(
            f"{path} cannot be read as a CT: it is damaged, incomplete or of an unknown format; export it again as "
            "NRRD, NIfTI, MetaImage or a DICOM folder."
        ) from None


@dataclass(frozen=True)
class _Slice:
    """What a DICOM file says about its place in a stack."""

    path: Path
    rows: int
    columns: int
    frames: int
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, ...]
    label: str


def _read_folder(folder: Path) -> tuple[sitk.Image, str]:
    series = _ct_series(folder)
    if not series:
        raise InputError(f"{folder} holds no CT slices in DICOM; give the folder of a CT series or a volume file.")
    chosen = max(series.values(), key=lambda slices: sum(s.frames for s in slices))
    name = f"{folder.name} ({chosen[0].label})" if len(series) > 1 else folder.name
    if len(series) > 1:
        _log.warning(
            "%s holds %d CT series; the largest was taken: %s, %d slices.", folder, len(series), name, len(chosen)
        )
    if len(chosen) == 1:
        return _read_file(chosen[0].path), name
    paths = _even_stack(chosen, folder)
    try:
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")

        def read(names: list[str]) -> sitk.Image:
            reader.SetFileNames(names)
            return reader.Execute()

        return call_simpleitk(read, paths), name
    except RuntimeError:
        raise InputError(f"{folder} holds CT slices that cannot be decoded; export the series again.") from None


def _ct_series(folder: Path) -> dict[str, list[_Slice]]:
    """CT slices of the files directly in ``folder``, by series."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    series: dict[str, list[_Slice]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.upper() == "DICOMDIR":
            continue
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            if header.get("Modality") != "CT" or "Rows" not in header:
                continue
            description = header.get("SeriesDescription") or "without description"
            item = _Slice(
                path,
                int(header.Rows),
                int(header.Columns),
                int(header.get("NumberOfFrames") or 1),
                tuple(float(v) for v in header.get("ImageOrientationPatient") or ()),
                tuple(float(v) for v in header.get("ImagePositionPatient") or ()),
                tuple(float(v) for v in header.get("PixelSpacing") or ()),
                f"series {header.get('SeriesNumber') or '?'}, {description}",
            )
        except (InvalidDicomError, OSError, ValueError, TypeError, AttributeError, EOFError):
            continue
        series[str(header.get("SeriesInstanceUID"))].append(item)
    return series


def _even_stack(slices: list[_Slice], folder: Path) -> list[Path]:
    """The slices' files in order along their normal, if they form one even stack."""

    def refuse(problem: str) -> InputError:
        return InputError(
            f"{folder}: {problem}; export one CT series with evenly spaced slices to a folder of its own."
        )

    first = slices[0]
    if any(len(s.orientation) != 6 or len(s.position) != 3 or len(s.spacing) != 2 for s in slices):
        raise refuse("slices lack their position, orientation or pixel spacing")
    if any((s.rows, s.columns) != (first.rows, first.columns) for s in slices):
        raise refuse("slices of different size are mixed in one series")
    orientations = np.array([s.orientation for s in slices])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise refuse("slices of different orientation are mixed in one series")
    if np.abs(np.array([s.spacing for s in slices]) - first.spacing).max() > 1e-3:
        raise refuse("slices of different pixel spacing are mixed in one series")
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    positions = np.array([s.position for s in slices])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    typical = float(np.median(gaps))
    if gaps.min() < 0.01:
        raise refuse("two slices lie at the same place")
    # Scanners round positions; a missing slice or a changed increment is far larger than this.
    if np.abs(gaps - typical).max() > max(0.05 * typical, 0.02):
        raise refuse(f"slices are spaced unevenly, from {gaps.min():.2f} to {gaps.max():.2f} mm")
    sideways = positions - np.outer(along, normal)
    if np.linalg.norm(sideways - sideways[order[0]], axis=1).max() > 0.5 * min(first.spacing):
        raise refuse("slices are shifted sideways, as with a tilted gantry")
    return [slices[i].path for i in order]
