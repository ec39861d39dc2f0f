"""Stored pixel values of one frame of a DICOM file, whatever it was compressed with."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .compressed_frames import compressed_frames
from .dicom_file import DicomFile
from .image_file import call_simpleitk

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What a decoder must know of an image besides its size.
_PIXEL_MODULE = (
    "SamplesPerPixel",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


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
    compressed = _frames(file) if _is_compressed(file) else None
    if compressed is None:
        _require_room(file)
    try:
        pixels = _decoded_by_pydicom(file, frame)
    except Exception:  # a damaged file, or one whose compression this installation of pydicom lacks
        if compressed is None:
            raise _incomplete(file) from None
        pixels = _decoded_by_gdcm(file, compressed[frame])
    if pixels.shape[:2] != (file.rows, file.columns):
        raise InputError(
            f"{file.path} holds {' x '.join(map(str, pixels.shape))} pixels where it states {file.rows} x "
            f"{file.columns}: it is damaged; export it again."
        )
    return pixels


def _frames(file: DicomFile) -> list[bytes]:
    try:
        frames = compressed_frames(file.dataset)
    except Exception:  # whatever a damaged file makes the parser raise
        raise _undecodable(file) from None
    if len(frames) < file.frames:
        raise _incomplete(file)
    return frames


def _require_room(file: DicomFile) -> None:
    """Uncompressed pixels that cannot all be in the file are refused before anything is made for them."""
    samples, bits = file.number("SamplesPerPixel") or 1, file.number("BitsAllocated") or 16
    expected = file.rows * file.columns * file.frames * samples * bits / 8
    length = len(file.dataset.get("PixelData") or b"")
    if length == 0 or expected > length + 8:
        raise _incomplete(file)


def _decoded_by_pydicom(file: DicomFile, frame: int) -> np.ndarray:
    from pydicom.pixels.utils import pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pixels that are more than stated, which harms nobody
        return pixel_array(file.dataset, index=frame)


def _decoded_by_gdcm(file: DicomFile, compressed: bytes) -> np.ndarray:
    """From a file with this frame alone, which states nothing that GDCM would do to the values, and no length that is
    not true: GDCM makes room for whatever a file states."""
    try:
        with tempfile.TemporaryDirectory(prefix="diffpose-") as folder:
            path = Path(folder) / "frame.dcm"
            _with_one_frame(file, compressed).save_as(path)
            read = call_simpleitk(lambda paths: sitk.ReadImage(paths[0], imageIO="GDCMImageIO"), [path])
            return sitk.GetArrayFromImage(read)[0]
    except Exception:  # of pydicom, which does not write every value, or of GDCM
        raise _undecodable(file) from None


def _with_one_frame(file: DicomFile, compressed: bytes) -> Dataset:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = file.dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    one = FileDataset("frame.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    one.Rows, one.Columns = file.rows, file.columns
    for keyword in _PIXEL_MODULE:
        if keyword in file.dataset:
            setattr(one, keyword, file.dataset[keyword].value)
    shown = file.text("PhotometricInterpretation")
    one.PhotometricInterpretation = "MONOCHROME2" if shown == "MONOCHROME1" else shown
    one.PixelData = pydicom.encaps.encapsulate([compressed])
    one["PixelData"].is_undefined_length = True
    return one


def _is_compressed(file: DicomFile) -> bool:
    try:
        return bool(file.dataset.file_meta.TransferSyntaxUID.is_compressed)
    except (AttributeError, ValueError):  # no transfer syntax that anybody knows
        return False


def _incomplete(file: DicomFile) -> InputError:
    return InputError(f"{file.path} holds fewer pixels than it states: it is damaged or incomplete; export it again.")


def _undecodable(file: DicomFile) -> InputError:
    return InputError(
        f"{file.path} is damaged or compressed in a way that cannot be decoded "
        f"({file.dataset.file_meta.TransferSyntaxUID.name}); export it uncompressed."
    )
