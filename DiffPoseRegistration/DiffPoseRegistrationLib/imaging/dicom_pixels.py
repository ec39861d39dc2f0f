"""Stored pixel values of one frame of a DICOM file, whatever it was compressed with."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .dicom_file import DicomFile
from .files import call_simpleitk


def stored_pixels(file: DicomFile, frame: int) -> np.ndarray:
    """Stored values of one frame: [row, column], or [row, column, channel] in red, green and blue.

    Decoded by pydicom with the decoders it finds, else by the GDCM inside SimpleITK, which knows every JPEG of DICOM.

    Raises
    ------
    InputError
        If the file is damaged, incomplete, or compressed in a way that nobody here can decode.
    """
    import pydicom

    dataset = file.dataset
    if "TransferSyntaxUID" not in dataset.file_meta:
        # A bare data set without the file header: what it was written in shows in how it was parsed.
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if dataset.original_encoding[0] else pydicom.uid.ExplicitVRLittleEndian
        )
    _require_room(file)
    try:
        pixels = _decoded_by_pydicom(file, frame)
    except Exception:  # a damaged file, or one whose compression this installation of pydicom lacks
        pixels = _decoded_by_gdcm(file, frame)
    if pixels.shape[:2] != (file.rows, file.columns):
        raise InputError(
            f"{file.path} holds {' x '.join(map(str, pixels.shape))} pixels where it states {file.rows} x "
            f"{file.columns}: it is damaged; export it again."
        )
    return pixels


def _require_room(file: DicomFile) -> None:
    """Uncompressed pixels that cannot all be in the file are refused before anything is made for them."""
    if _is_compressed(file):
        return
    samples, bits = file.number("SamplesPerPixel") or 1, file.number("BitsAllocated") or 16
    if file.rows * file.columns * file.frames * samples * bits / 8 > len(file.dataset.PixelData) + 8:
        raise _incomplete(file)


def _decoded_by_pydicom(file: DicomFile, frame: int) -> np.ndarray:
    try:
        from pydicom.pixels import pixel_array
    except ImportError:  # before pydicom 3, which first decodes all frames
        pixels = file.dataset.pixel_array
        return pixels[frame] if file.frames > 1 else pixels
    return pixel_array(file.dataset, index=frame)


def _decoded_by_gdcm(file: DicomFile, frame: int) -> np.ndarray:
    """GDCM inverts MONOCHROME1 and applies the rescale on its way; both are undone."""
    if not _is_compressed(file):
        raise _incomplete(file)
    try:
        image = call_simpleitk(lambda paths: sitk.ReadImage(paths[0], imageIO="GDCMImageIO"), [file.path])
    except RuntimeError:
        raise InputError(
            f"{file.path} is damaged or compressed in a way that cannot be decoded "
            f"({file.dataset.file_meta.TransferSyntaxUID.name}); export it uncompressed."
        ) from None
    pixels = sitk.GetArrayFromImage(image)
    slope, intercept = file.number("RescaleSlope") or 1.0, file.number("RescaleIntercept") or 0.0
    if (slope, intercept) != (1.0, 0.0):
        pixels = np.rint((pixels - intercept) / slope)
    if file.text("PhotometricInterpretation") == "MONOCHROME1":
        pixels = (2 ** int(file.number("BitsStored") or 16) - 1) - pixels.astype(np.int64)
    if frame >= len(pixels):
        raise _incomplete(file)
    return pixels[frame]


def _is_compressed(file: DicomFile) -> bool:
    try:
        return bool(file.dataset.file_meta.TransferSyntaxUID.is_compressed)
    except (AttributeError, ValueError):  # no transfer syntax that anybody knows
        return False


def _incomplete(file: DicomFile) -> InputError:
    return InputError(f"{file.path} holds fewer pixels than it states: it is damaged or incomplete; export it again.")
