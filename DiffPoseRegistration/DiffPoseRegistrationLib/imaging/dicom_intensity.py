"""What the pixel values of a DICOM file mean: modality LUT, rescale, relationship to the radiation, display."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .dicom_file import DicomFile
from .pixel_meaning import PixelMeaning


def real_values(file: DicomFile, stored: np.ndarray, frame: int) -> tuple[np.ndarray, PixelMeaning]:
    """Values of ``stored`` [row, column] after the file's modality LUT or rescale, and what they mean.

    Raises
    ------
    InputError
        If the file's modality LUT cannot be applied.
    """
    relationship = file.text("PixelIntensityRelationship", frame).upper() or None
    bits = int(file.number("BitsStored") or 16) - int(file.number("PixelRepresentation") or 0)
    top = float(2 ** min(max(bits, 1), 32) - 1)
    # With a logarithmic relationship the LUT only leads back to the radiation, whose logarithm is wanted.
    table = None if relationship == "LOG" else file.value("ModalityLUTSequence", frame)
    if table is not None:
        values, ascending = _through_lut(file, stored, table)
        slope, top = (1.0 if ascending else -1.0), float(values.max())
    else:
        slope = file.number("RescaleSlope", frame) or 1.0
        intercept = file.number("RescaleIntercept", frame) or 0.0
        values = stored if (slope, intercept) == (1.0, 0.0) else stored * slope + intercept
        top = max(0.0, top * slope) + intercept
    sign = file.number("PixelIntensityRelationshipSign", frame)
    return values, PixelMeaning(
        modality=None if file.is_secondary_capture else file.modality or None,
        relationship=relationship,
        sign=None if sign not in (1, -1) else int(sign if slope > 0 else -sign),
        # Shown is what comes out of LUT and rescale (PS3.3 C.7.6.3.1.2); the sign is of the stored values (C.8.11.3).
        inverted_display=file.text("PhotometricInterpretation") == "MONOCHROME1",
        largest_value=top,
    )


def meaning_in_slicer(path: str | Path, frame: int = 0) -> PixelMeaning:
    """What the pixels of a DICOM file mean once Slicer's reader (GDCM) has delivered them: rescaled, and those of
    MONOCHROME1 inverted before that, so that large values are shown bright.

    Raises
    ------
    InputError
        If the file is no X-ray that can be read.
    """
    file = DicomFile(Path(path), with_pixels=False)
    # What the file states of its stored values does not depend on what they are.
    meaning = real_values(file, np.zeros((1, 1)), frame)[1]
    if not meaning.inverted_display:
        return meaning
    return replace(meaning, sign=None if meaning.sign is None else -meaning.sign, inverted_display=False)


def _through_lut(file: DicomFile, stored: np.ndarray, table: Any) -> tuple[np.ndarray, bool]:
    """Values through the first table of a Modality LUT Sequence, and whether the table ascends."""
    try:
        first, entries = table[0], table[0].LUTDescriptor
        count, start = int(entries[0]) or 2**16, int(entries[1])
        values = np.asarray(first.LUTData, dtype=np.float64)
        if isinstance(first.LUTData, bytes):
            values = np.frombuffer(first.LUTData, "<u2").astype(np.float64)
        if values.size != count or count < 2 or not np.isfinite(values).all():
            raise ValueError
    except Exception:
        raise InputError(
            f"{file.path} has a modality LUT (0028,3000) that cannot be read; export it with plain values."
        ) from None
    return values[np.clip(stored.astype(np.int64) - start, 0, count - 1)], bool(values[-1] >= values[0])
