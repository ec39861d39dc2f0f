"""X-rays from files, DICOM or pictures, and from the pixels of a program that has read the file itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from .dicom_file import DicomFile
from .dicom_geometry import CAMERA_KEYS, stated_geometry
from .dicom_intensity import real_values
from .dicom_pixels import stored_pixels
from .dicom_shutter import stated_field
from .files import existing_file
from .intensity import to_attenuation
from .masks import exposed_field, saturation
from .picture_file import PICTURE_SUFFIXES, grey, read_picture
from .pixel_meaning import PixelMeaning
from .values import XRay


@dataclass
class _Pixels:
    """Pixels [row, column] and what their file states."""

    values: np.ndarray
    meaning: PixelMeaning = field(default_factory=PixelMeaning)
    file: DicomFile | None = None
    warnings: list[str] = field(default_factory=list)


def read_xray(
    path: str | Path,
    camera: Camera | None = None,
    *,
    frame: int = 0,
    intensity: str = "auto",
    polarity: str = "auto",
    open_field: float | None = None,
    viewed_from: str | None = None,
    meaning: PixelMeaning | None = None,
) -> XRay:
    """The X-ray in a DICOM file or picture (PNG, TIFF, JPEG, BMP, NRRD, NIfTI, MetaImage).

    Parameters
    ----------
    camera
        Geometry that wins over the file's; needed where the file has none.
    frame
        Which image of a multi-frame DICOM file, from 0.
    intensity, polarity, open_field
        As in :func:`~.intensity.to_attenuation`.
    viewed_from
        The side ("source" or "detector") from which the stored image is seen; wins over file and camera.
    meaning
        What is known of the pixels of a picture, as from :func:`~.dicom_intensity.meaning_in_slicer`; a DICOM file
        says so itself.

    Raises
    ------
    InputError
        If the file is missing, cannot be decoded, is no single 2D image, has pixels that are not finite
        or lacks geometry; the sentence names what is missing.
    """
    path = existing_file(path, "X-ray")
    is_picture = path.suffix.lower() in PICTURE_SUFFIXES
    pixels = _Pixels(read_picture(path), meaning or PixelMeaning()) if is_picture else _read_dicom(path, frame)
    values = pixels.values
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds pixels that are not finite (NaN or infinity); export it again.")
    if values.min() == values.max():
        raise InputError(f"{path} has the same value everywhere; it holds no picture, so export it again.")
    if camera is not None:
        provenance = dict.fromkeys(CAMERA_KEYS, "as given")
    elif pixels.file is None:
        raise InputError(
            f"{path} carries no X-ray geometry (source-to-detector distance and pixel spacing on the detector); give "
            "it with --camera."
        )
    else:
        stated = stated_geometry(pixels.file, frame)
        camera, provenance = stated.camera, dict(stated.provenance)
        pixels.warnings += stated.warnings
    if viewed_from is not None:
        camera = replace(camera, viewed_from=viewed_from)
        provenance["viewed_from"] = f"{viewed_from}, as given"
    if values.shape != (camera.rows, camera.columns):
        raise InputError(
            f"{path} is {values.shape[0]} x {values.shape[1]} pixels (rows x columns) but the geometry given is for "
            f"{camera.rows} x {camera.columns}; give the geometry of this very image."
        )
    shutter = None if pixels.file is None else stated_field(pixels.file, frame)
    exposed = exposed_field(-values if pixels.meaning.inverted_display else values)
    converted = to_attenuation(values, pixels.meaning, exposed, intensity, polarity, path.name, open_field)
    mask = exposed.mask if shutter is None else exposed.mask & shutter
    saturated = saturation(values, mask, converted.large_is_dense)
    provenance["intensity"] = converted.words
    provenance["mask"] = (
        exposed.words
        + (f"; {saturated.mean():.1%} saturated masked" if saturated.any() else "")
        + ("" if shutter is None else f"; shutter or collimator of the file ({1 - shutter.mean():.0%}) masked")
    )
    if pixels.file is not None and pixels.file.frames > 1:
        provenance["frame"] = f"{frame} of {pixels.file.frames}, counted from 0"
    return XRay(
        converted.attenuation,
        camera,
        mask & ~saturated,
        path.name,
        provenance,
        (*pixels.warnings, *converted.warnings),
    )


def _read_dicom(path: Path, frame: int) -> _Pixels:
    file = DicomFile(path)
    file.check_frame(frame)
    values, meaning = real_values(file, grey(stored_pixels(file, frame)), frame)
    pixels = _Pixels(values, meaning, file)
    if file.frames > 1:
        pixels.warnings.append(
            f"{path.name} has {file.frames} frames; frame {frame} (the first is 0) was used; choose another with "
            "--frame."
        )
    if file.text("RecommendedViewingMode").upper() == "SUB":
        pixels.warnings.append(
            f"{path.name} is meant to be seen with a mask image subtracted; the image itself was used, without."
        )
    return pixels
