"""The compressed frames of a DICOM image, and the size that each states by itself.

A decoder makes room for what the compressed stream states, whatever the DICOM file around it says: a few damaged bytes
ask for gigabytes. So both are held against one another first. Sources: ISO 10918-1 B.2.2 (JPEG, SOF), ISO 14495-1 C.2.2
(JPEG-LS), ISO 15444-1 A.5.1 (JPEG 2000, SIZ).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"  # SOC, SIZ
_BEFORE_JPEG_2000 = 4096  # bytes; some programs leave the boxes of a .jp2 file before the stream
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def compressed_frames(dataset: Dataset) -> list[bytes]:
    """Each frame of an image whose pixels are compressed.

    Raises
    ------
    ValueError
        If a frame states another size than the file does; or whatever pydicom raises if the pixels are damaged.
    """
    from pydicom import encaps

    frames = list(encaps.generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
    for frame in frames:
        size = stated_size(frame)
        if size is not None and size != (dataset.Rows, dataset.Columns):
            raise ValueError(f"a frame of {size[0]} x {size[1]} pixels in an image of another size")
    return frames


def stated_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream states; None if it is none of these."""
    try:
        if stream.startswith(_JPEG_START):
            return _jpeg_size(stream)
        start = stream.find(_JPEG_2000_START, 0, _BEFORE_JPEG_2000)
        if start < 0:
            return None
        right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
        return bottom - top, right - left
    except struct.error:  # it ends before
        return None


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    place = len(_JPEG_START)
    while place + 1 < len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _WITHOUT_LENGTH:
            place += 2
        elif marker in _FRAME_HEADERS:
            rows, columns = struct.unpack_from(">2H", stream, place + 5)
            return rows, columns
        else:
            place += 2 + struct.unpack_from(">H", stream, place + 2)[0]
    return None
