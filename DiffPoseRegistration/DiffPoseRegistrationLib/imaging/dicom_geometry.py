"""The one set of rules from DICOM tags to a camera, with the origin of every number.

Sources: DICOM PS3.3 C.8.7.5 (XA), C.8.19.6 (Enhanced XA), C.8.8.2 (RT Image), C.10.7 (pixel spacing calibration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..geometry.camera import Camera
from .dicom_carm import c_arm_position, viewed_from
from .dicom_detector import principal_point
from .dicom_file import DicomFile, tag_words

CAMERA_KEYS = ("source_to_detector_mm", "pixel_spacing_mm", "principal_point_px", "viewed_from")


class MissingGeometry(InputError):
    """The file lacks what a camera needs: ``missing`` names it, ``known`` what is there, ``file_name`` the file."""

    def __init__(self, path: Path, missing: Sequence[str], known: Sequence[str]) -> None:
        super().__init__(f"{path} lacks the {' and the '.join(missing)}; give the geometry with --camera.")
        self.file_name, self.missing, self.known = path.name, tuple(missing), tuple(known)


@dataclass(frozen=True)
class StatedGeometry:
    """What a file states.

    camera
        Of its stored image. provenance: for each of ``CAMERA_KEYS`` where the number is from.
    warnings
        Sentences for the person.
    """

    camera: Camera
    provenance: dict[str, str]
    warnings: tuple[str, ...] = ()


def read_geometry(path: Path, frame: int = 0) -> StatedGeometry:
    """The geometry that a DICOM file's header states; see :func:`stated_geometry`."""
    return stated_geometry(DicomFile(Path(path), with_pixels=False), frame)


def stated_geometry(file: DicomFile, frame: int = 0) -> StatedGeometry:
    """The camera of a file's image, by its own tags.

    Raises
    ------
    MissingGeometry
        If the distance or the pixel size cannot be told.
    InputError
        If a number makes no sense, or the image plane is not perpendicular to the beam.
    """
    provenance: dict[str, str] = {}
    warnings: list[str] = []
    missing = []
    distance = _distance(file, frame, provenance)
    if distance is None:
        missing.append("source-to-detector distance " + ("(3002,0026)" if file.is_rt_image else "(0018,1110)"))
    spacing = _spacing(file, frame, provenance, warnings)
    if spacing is None:
        missing.append("pixel spacing on the detector " + ("(3002,0011)" if file.is_rt_image else "(0018,1164)"))
    if distance is None or spacing is None:
        raise MissingGeometry(file.path, missing, _known(file, frame, distance, spacing, provenance))
    axis, provenance["principal_point_px"] = principal_point(file, frame, spacing)
    side, provenance["viewed_from"] = viewed_from(file, frame)
    centre = ((file.columns - 1) / 2, (file.rows - 1) / 2)
    try:
        camera = Camera(distance, file.rows, file.columns, spacing, axis or centre, side)
    except InputError as error:
        raise InputError(f"{file.path} states a geometry that cannot be: {error}") from None
    return StatedGeometry(camera, provenance, tuple(warnings))


def _known(
    file: DicomFile,
    frame: int,
    distance: float | None,
    spacing: tuple[float, float] | None,
    provenance: dict[str, str],
) -> list[str]:
    """What a file states although it does not make a camera, a line each."""
    frames = f", {file.frames} frames" if file.frames > 1 else ""
    lines = [f"{file.modality or 'no modality'}, rows x columns: {file.rows} x {file.columns}{frames}"]
    if distance is not None:
        lines.append(f"source to detector: {distance:.6g} mm  [{provenance['source_to_detector_mm']}]")
    if spacing is not None:
        lines.append(
            f"pixel spacing (row, column): {spacing[0]:.6g} x {spacing[1]:.6g} mm  [{provenance['pixel_spacing_mm']}]"
        )
    position = c_arm_position(file, frame)
    if position is not None:
        lines.append(
            f"C-arm angles: primary {position.primary_deg:g}, secondary {position.secondary_deg:g} deg  "
            f"[{position.words}]"
        )
    return lines


def _distance(file: DicomFile, frame: int, provenance: dict[str, str]) -> float | None:
    keyword = "RTImageSID" if file.is_rt_image else "DistanceSourceToDetector"
    provenance["source_to_detector_mm"] = tag_words(keyword)
    return file.positive(keyword, frame)


# -- pixel spacing -----------------------------------------------------------------------------------


def _spacing(
    file: DicomFile, frame: int, provenance: dict[str, str], warnings: list[str]
) -> tuple[float, float] | None:
    """(row, column) spacing on the detector, mm."""
    keyword = "ImagePlanePixelSpacing" if file.is_rt_image else "ImagerPixelSpacing"
    spacing = file.positive_pair(keyword, frame)
    if spacing is not None:
        provenance["pixel_spacing_mm"] = tag_words(keyword)
        return spacing
    spacing = file.positive_pair("PixelSpacing", frame)
    if spacing is not None:
        return _calibrated_spacing(file, frame, spacing, provenance, warnings)
    return _intensifier_spacing(file, frame, provenance, warnings)


def _calibrated_spacing(
    file: DicomFile, frame: int, spacing: tuple[float, float], provenance: dict[str, str], warnings: list[str]
) -> tuple[float, float]:
    """From the plain Pixel Spacing, which may be one in the patient rather than on the detector."""
    name = file.path.name
    if file.text("PixelSpacingCalibrationType", frame) == "GEOMETRY":
        magnification = _magnification(file, frame)
        if magnification is not None:
            factor, words = magnification
            provenance["pixel_spacing_mm"] = (
                f"Pixel Spacing (0028,0030), which the machine corrected for magnification (0028,0A02), times "
                f"{factor:.4g}, {words}"
            )
            return spacing[0] * factor, spacing[1] * factor
    provenance["pixel_spacing_mm"] = "Pixel Spacing (0028,0030), which may be corrected for magnification"
    warnings.append(
        f"{name} lacks Imager Pixel Spacing (0018,1164); its Pixel Spacing (0028,0030) of {spacing[0]:g} x "
        f"{spacing[1]:g} mm was used, which may be corrected for magnification, that is smaller than on the detector."
    )
    return spacing


def _magnification(file: DicomFile, frame: int) -> tuple[float, str] | None:
    detector, patient = (file.positive(f"DistanceSourceTo{place}", frame) for place in ("Detector", "Patient"))
    if detector is not None and patient is not None and detector > patient:
        return detector / patient, "the distances (0018,1110) over (0018,1111)"
    factor = file.positive("EstimatedRadiographicMagnificationFactor", frame)
    return None if factor is None or factor < 1 else (factor, tag_words("EstimatedRadiographicMagnificationFactor"))


def _intensifier_spacing(
    file: DicomFile, frame: int, provenance: dict[str, str], warnings: list[str]
) -> tuple[float, float] | None:
    """Estimated from the size of the field that fills the image, as image intensifiers state it."""
    for keyword in ("FieldOfViewDimensionsInFloat", "FieldOfViewDimensions", "IntensifierSize"):
        for count in (2, 1):
            size = file.numbers(keyword, count, frame)
            if size is not None and min(size) > 0:
                spacing = (size[0] / file.rows, size[-1] / file.columns)
                if count == 1:  # the diameter of a round field, which fills the shorter side
                    spacing = (size[0] / min(file.rows, file.columns),) * 2
                provenance["pixel_spacing_mm"] = f"estimated from {tag_words(keyword)}, taken to fill the image"
                words = " x ".join(f"{value:g}" for value in size)
                warnings.append(
                    f"{file.path.name} states no pixel spacing; {spacing[0]:.4g} x {spacing[1]:.4g} mm was estimated "
                    f"from its {tag_words(keyword)} of {words} mm, taken to fill the image. A few per cent of error "
                    "here is as much error in depth; give the spacing with --camera if you know it."
                )
                return spacing
    return None
