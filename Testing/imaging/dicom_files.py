"""Small DICOM files made on the fly with pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, XRayAngiographicImageStorage, generate_uid


def image_dataset(path: Path, pixels: np.ndarray, sop_class: str, **tags: Any) -> FileDataset:
    """A data set for 16-bit ``pixels`` [row, column] or [frame, row, column] with further ``tags``."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = pixels.shape[0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).astype("<i2" if pixels.dtype.kind == "i" else "<u2").tobytes()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def write_xray(path: Path, pixels: np.ndarray, sop_class: str = XRayAngiographicImageStorage, **tags: Any) -> Path:
    """An X-ray file; ``tags`` by keyword."""
    image_dataset(path, pixels.astype(np.uint16), sop_class, **tags).save_as(path)
    return path


def write_ct_series(
    folder: Path,
    hounsfield: np.ndarray,
    positions: np.ndarray,
    orientation: np.ndarray,
    pixel_spacing: tuple[float, float],
    series_number: int = 1,
    description: str = "test",
    modality: str = "CT",
) -> None:
    """One file a slice of ``hounsfield`` [k, row, column]; file names run against the slices' order."""
    folder.mkdir(exist_ok=True)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k, (pixels, position) in enumerate(zip(hounsfield, positions)):
        path = folder / f"s{series_number}_{len(hounsfield) - k:03d}.dcm"
        image_dataset(
            path,
            (pixels + 1024).astype(np.uint16),
            CTImageStorage,
            Modality=modality,
            SeriesInstanceUID=series,
            StudyInstanceUID=study,
            FrameOfReferenceUID=frame,
            SeriesNumber=series_number,
            SeriesDescription=description,
            InstanceNumber=k + 1,
            ImagePositionPatient=[f"{v:.6f}" for v in position],
            ImageOrientationPatient=[f"{v:.9f}" for v in orientation.ravel()],
            PixelSpacing=[pydicom.valuerep.DSfloat(v, auto_format=True) for v in pixel_spacing],
            SliceThickness="2",
            RescaleSlope="1",
            RescaleIntercept="-1024",
        ).save_as(path)
