"""X-rays from files: DICOM with its geometry, and pictures whose geometry is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..geometry.camera import Camera
from .files import call_simpleitk, existing_file, read_image
from .intensity import PixelMeaning, to_attenuation
from .masks import dense_saturation, exposed_field
from .values import XRay

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PICTURE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nrrd", ".nhdr", ".nii", ".gz", ".mha", ".mhd",
)  # fmt: skip
_NOT_PROJECTIONS = ("CT", "MR", "PT", "NM", "US")
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass
class _Picture:
    """Pixels [row, column] and what their file states."""

    values: np.ndarray
    meaning: PixelMeaning = field(default_factory=PixelMeaning)
    dataset: Dataset | None = None
    frame: int = 0
    warnings: list[str] = field(default_factory=list)


def read_xray(
    path: str | Path,
    camera: Camera | None = None,
    *,
    frame: int = 0,
    intensity: str = "auto",
    polarity: str = "auto",
    viewed_from: str | None = None,
) -> XRay:
    """The X-ray in a DICOM file or picture (PNG, TIFF, JPEG, BMP, NRRD, NIfTI, MetaImage).

    Parameters
    ----------
    camera
        Geometry that wins over the file's; needed where the file has none.
    frame
        Which image of a multi-frame DICOM file, from 0.
    intensity, polarity
        As in :func:`~.intensity.to_attenuation`.
    viewed_from
        The side ("source" or "detector") from which the stored image is seen; wins over file and camera.

    Raises
    ------
    InputError
        If the file is missing, cannot be decoded, is no single 2D image, has pixels that are not finite
        or lacks geometry; the sentence names what is missing.
    """
    path = existing_file(path, "X-ray")
    if path.suffix.lower() in _PICTURE_SUFFIXES:
        picture = _Picture(_read_picture(path))
    else:
        picture = _read_dicom(path, frame)
    values = picture.values
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds pixels that are not finite (NaN or infinity); export it again.")
    if values.min() == values.max():
        raise InputError(f"{path} has the same value everywhere; it holds no picture, so export it again.")
    provenance: dict[str, str] = {}
    if camera is None:
        camera = _camera_of_file(path, picture, provenance)
    else:
        for key in ("source_to_detector_mm", "pixel_spacing_mm", "principal_point_px", "viewed_from"):
            provenance[key] = "as given"
    if viewed_from is not None:
        camera = replace(camera, viewed_from=viewed_from)
        provenance["viewed_from"] = f"{viewed_from}, as given"
    if values.shape != (camera.rows, camera.columns):
        raise InputError(
            f"{path} is {values.shape[0]} x {values.shape[1]} pixels (rows x columns) but the geometry given is for "
            f"{camera.rows} x {camera.columns}; give the geometry of this very image."
        )
    exposed = exposed_field(-values if picture.meaning.inverted_display else values)
    converted = to_attenuation(values, picture.meaning, exposed, intensity, polarity, path.name)
    saturated = dense_saturation(values, exposed.mask, converted.large_is_dense)
    provenance["intensity"] = converted.words
    provenance["mask"] = exposed.words + (f"; {saturated.mean():.1%} saturated masked" if saturated.any() else "")
    return XRay(
        converted.attenuation,
        camera,
        exposed.mask & ~saturated,
        path.name,
        provenance,
        (*picture.warnings, *converted.warnings),
    )


# -- pictures ----------------------------------------------------------------------------------------


def _read_picture(path: Path) -> np.ndarray:
    """Pixels [row, column] of a picture that SimpleITK reads; colour as luminance."""
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
    return _grey(values.reshape(*shape[-2:], *values.shape[len(shape) :]))


def _grey(values: np.ndarray) -> np.ndarray:
    """Luminance [row, column] of grey or colour [row, column, channel]; an alpha channel is left out."""
    if values.ndim == 2:
        return values
    if values.shape[2] < 3:
        return values[..., 0]
    if (values[..., 0] == values[..., 1]).all() and (values[..., 0] == values[..., 2]).all():
        return values[..., 0]
    return values[..., :3] @ _LUMINANCE


# -- DICOM -------------------------------------------------------------------------------------------


def _read_dicom(path: Path, frame: int) -> _Picture:
    import pydicom

    try:
        dataset = pydicom.dcmread(path, force=True)
        is_image = "PixelData" in dataset and "Rows" in dataset
    except Exception:  # whatever a damaged file makes the parser raise
        is_image = False
    if not is_image:
        raise InputError(
            f"{path} is no image that can be read: neither DICOM with pixels nor {', '.join(_PICTURE_SUFFIXES[:6])}; "
            "export the X-ray as DICOM, PNG or TIFF."
        )
    modality = str(dataset.get("Modality") or "") or None
    if modality in _NOT_PROJECTIONS:
        raise InputError(f"{path} is a {modality} image, not an X-ray projection; give an X-ray image.")
    picture = _Picture(np.empty(0), dataset=dataset, frame=frame)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if not 0 <= frame < frames:
        raise InputError(f"{path} has {frames} frames, numbered from 0; there is no frame {frame}.")
    if frames > 1:
        picture.warnings.append(f"{path.name} has {frames} frames; frame {frame} (the first is 0) was used.")
    stored = _grey(_stored_pixels(path, dataset, frame))
    slope, intercept = (_number(_find(dataset, k, frame)) for k in ("RescaleSlope", "RescaleIntercept"))
    slope = slope or 1.0
    picture.values = stored if (slope, intercept or 0.0) == (1.0, 0.0) else stored * slope + (intercept or 0.0)
    sign = _number(_find(dataset, "PixelIntensityRelationshipSign", frame))
    bits = int(dataset.get("BitsStored") or 16) - int(dataset.get("PixelRepresentation") or 0)
    picture.meaning = PixelMeaning(
        # A secondary capture is a picture of a picture: its modality says nothing about its grey scale.
        modality=None if "Secondary Capture" in dataset.get("SOPClassUID", pydicom.uid.UID("")).name else modality,
        relationship=str(_find(dataset, "PixelIntensityRelationship", frame) or "").upper() or None,
        sign=None if sign not in (1, -1) else int(sign if slope > 0 else -sign),
        inverted_display=(dataset.get("PhotometricInterpretation") == "MONOCHROME1") == (slope > 0),
        largest_value=max(0.0, (2**bits - 1) * slope) + (intercept or 0.0),
    )
    return picture


def _stored_pixels(path: Path, dataset: Dataset, frame: int) -> np.ndarray:
    """Stored values of one frame, [row, column] or [row, column, channel]."""
    import pydicom

    if "TransferSyntaxUID" not in dataset.file_meta:
        # A bare data set without the file header: what it was written in shows in how it was parsed.
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if dataset.original_encoding[0] else pydicom.uid.ExplicitVRLittleEndian
        )
    try:
        pixels = dataset.pixel_array
    except Exception:  # a damaged file, or one whose compression this installation of pydicom lacks
        pixels = _decoded_by_gdcm(path, dataset)
    return pixels[frame] if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels


def _decoded_by_gdcm(path: Path, dataset: Dataset) -> np.ndarray:
    """Stored values, decoded by the GDCM inside SimpleITK, which knows every JPEG of DICOM.

    GDCM inverts MONOCHROME1 and applies the rescale on its way; both are undone.
    """
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        raise InputError(f"{path} holds fewer pixels than it states: it is damaged or incomplete; export it again.")
    try:
        image = call_simpleitk(lambda paths: sitk.ReadImage(paths[0], imageIO="GDCMImageIO"), [path])
    except RuntimeError:
        raise InputError(
            f"{path} is damaged or compressed in a way that cannot be decoded "
            f"({dataset.file_meta.TransferSyntaxUID.name}); export it uncompressed."
        ) from None
    pixels = sitk.GetArrayFromImage(image)
    slope, intercept = _number(dataset.get("RescaleSlope")) or 1.0, _number(dataset.get("RescaleIntercept")) or 0.0
    if (slope, intercept) != (1.0, 0.0):
        pixels = np.rint((pixels - intercept) / slope)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = (2 ** int(dataset.BitsStored) - 1) - pixels.astype(np.int64)
    return pixels if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels[0]


def _find(dataset: Dataset, keyword: str, frame: int) -> Any:
    """Value of a tag at the top level, else in the functional groups of an enhanced object; None if empty."""
    value = dataset.get(keyword)
    if value not in (None, ""):
        return value
    for group in _functional_groups(dataset, frame):
        for element in group.iterall():
            if element.keyword == keyword and element.value not in (None, ""):
                return element.value
    return None


def _functional_groups(dataset: Dataset, frame: int) -> Iterator[Dataset]:
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if frame < len(per_frame):
        yield per_frame[frame]
    yield from (dataset.get("SharedFunctionalGroupsSequence") or [])[:1]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _pair(value: Any) -> tuple[float, float] | None:
    """Two positive numbers, or None (some machines write zeros for "not known")."""
    try:
        first, second = (float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return (first, second) if 0 < first < np.inf and 0 < second < np.inf else None


# -- geometry ----------------------------------------------------------------------------------------


def _camera_of_file(path: Path, picture: _Picture, provenance: dict[str, str]) -> Camera:
    """The camera that a DICOM file states, with each number's origin entered in ``provenance``."""
    rows, columns = picture.values.shape
    dataset, frame = picture.dataset, picture.frame
    if dataset is None:
        raise InputError(
            f"{path} carries no X-ray geometry (source-to-detector distance and pixel spacing on the detector); give "
            "it with --camera."
        )
    missing = []
    if dataset.get("Modality") == "RTIMAGE":
        distance_tag, spacing_tag = ("RTImageSID", "(3002,0026)"), ("ImagePlanePixelSpacing", "(3002,0011)")
    else:
        distance_tag, spacing_tag = ("DistanceSourceToDetector", "(0018,1110)"), ("ImagerPixelSpacing", "(0018,1164)")
    distance = _number(_find(dataset, distance_tag[0], frame))
    if distance is not None and distance > 0:
        provenance["source_to_detector_mm"] = f"{_title(distance_tag[0])} {distance_tag[1]}"
    else:
        missing.append(f"source-to-detector distance {distance_tag[1]}")
    spacing = _pair(_find(dataset, spacing_tag[0], frame))
    if spacing is not None:
        provenance["pixel_spacing_mm"] = f"{_title(spacing_tag[0])} {spacing_tag[1]}"
    else:
        spacing = _pair(dataset.get("PixelSpacing"))
        provenance["pixel_spacing_mm"] = "Pixel Spacing (0028,0030), which may be corrected for magnification"
        if spacing is None:
            missing.append(f"pixel spacing on the detector {spacing_tag[1]}")
        else:
            picture.warnings.append(
                f"{path.name} lacks Imager Pixel Spacing (0018,1164); its Pixel Spacing (0028,0030) of "
                f"{spacing[0]:g} x {spacing[1]:g} mm was used, which may be corrected for magnification, "
                "that is smaller than on the detector."
            )
    if missing:
        raise InputError(f"{path} lacks the {' and the '.join(missing)}; give the geometry with --camera.")
    principal_point = _principal_point(dataset, frame, spacing, provenance)
    # A C-arm's picture is shown as one faces the patient; at 0/0 its tube is behind the patient.
    has_angles = _number(_find(dataset, "PositionerPrimaryAngle", frame)) is not None
    viewed_from = "detector" if has_angles else "source"
    provenance["viewed_from"] = (
        f"{viewed_from}, assumed, since the file has {'C-arm' if has_angles else 'no C-arm'} angles (0018,1510)"
    )
    return Camera(distance, rows, columns, spacing, principal_point, viewed_from)


def _principal_point(
    dataset: Dataset, frame: int, spacing: tuple[float, float], provenance: dict[str, str]
) -> tuple[float, float] | None:
    """(column, row) of the beam's axis; None for the image centre."""
    if dataset.get("Modality") == "RTIMAGE":
        try:
            x, y = (float(v) for v in dataset.RTImagePosition)
        except (AttributeError, TypeError, ValueError):
            pass
        else:
            # Position of the first pixel from the beam's axis, y upwards, at the plane of the pixel spacing.
            provenance["principal_point_px"] = "RT Image Position (3002,0012)"
            return -x / spacing[1], y / spacing[0]
    provenance["principal_point_px"] = "image centre, assumed"
    return None


def _title(keyword: str) -> str:
    import pydicom

    return pydicom.datadict.dictionary_description(pydicom.datadict.tag_for_keyword(keyword))
