"""Images in files of the formats that SimpleITK reads: whole ones, and no more memory than they are worth.

SimpleITK makes room for what a header states before it looks whether there is so much, and GDCM for any length within
a DICOM file; both are held against the file's size first.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk

from .compressed_frames import compressed_frames

T = TypeVar("T")

# Formats by the names of SimpleITK's readers. Named, since left to itself it asks GDCM first what a file is.
_READERS = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".nii": "NiftiImageIO",
    ".gz": "NiftiImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".png": "PNGImageIO",
    ".jpg": "JPEGImageIO",
    ".jpeg": "JPEGImageIO",
    ".tif": "TIFFImageIO",
    ".tiff": "TIFFImageIO",
    ".bmp": "BMPImageIO",
}
# First bytes of the formats that have some of their own, since a file may have another format's name.
_MAGIC = {
    b"NRRD": "NrrdImageIO",
    b"\x1f\x8b": "NiftiImageIO",
    b"\x89PNG": "PNGImageIO",
    b"\xff\xd8\xff": "JPEGImageIO",
    b"II*\0": "TIFFImageIO",
    b"MM\0*": "TIFFImageIO",
    b"II+\0": "TIFFImageIO",
    b"MM\0+": "TIFFImageIO",
    b"BM": "BMPImageIO",
    b"ObjectType": "MetaImageIO",
}
_MOST_UNCHECKED = 2**24  # bytes
_DENSEST_PACKING = 1032  # of deflate


def read_image(path: Path) -> sitk.Image:
    """The image in a file of any format that SimpleITK reads, if it is complete.

    Raises
    ------
    RuntimeError
        If it is damaged, incomplete or of an unknown format.
    """
    reader_name = _reader_name(path)
    if reader_name is None:
        return _read_dicom(path)
    if reader_name == "NiftiImageIO" and not _nifti_is_complete(path):
        raise RuntimeError(f"{path} is incomplete")  # SimpleITK would fill the rest with anything
    return _read(path, reader_name)


def _reader_name(path: Path) -> str | None:
    """Which of SimpleITK's readers a file is for, by its first bytes, else by its name; None: DICOM."""
    with path.open("rb") as stream:
        start = stream.read(132)
    if start[128:] == b"DICM":
        return None
    by_content = (name for magic, name in _MAGIC.items() if start.startswith(magic))
    return next(by_content, _READERS.get(path.suffix.lower()))


def _read(path: Path, reader_name: str) -> sitk.Image:
    if _stated_bytes(path, reader_name) > max(_MOST_UNCHECKED, _DENSEST_PACKING * _bytes_on_disk(path)):
        raise RuntimeError(f"{path} states more than it holds")
    return call_simpleitk(lambda paths: sitk.ReadImage(paths[0], imageIO=reader_name), [path])


def image_size(path: Path) -> tuple[int, ...]:
    """Pixels along each axis, by the header alone.

    Raises
    ------
    RuntimeError
        If the header cannot be read.
    """
    return picture_header(path).GetSize()


def picture_header(path: Path) -> sitk.ImageFileReader:
    """A reader that knows the header: size, origin, spacing, direction. Raises RuntimeError like :func:`image_size`."""
    return _header(path, _reader_name(path) or "GDCMImageIO")


def _read_dicom(path: Path) -> sitk.Image:
    """Through a copy whose every length is true."""
    import pydicom

    try:
        with tempfile.TemporaryDirectory(prefix="diffpose-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copy, dataset = Path(folder) / "image.dcm", pydicom.dcmread(path)
            if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
                dataset.PixelData = pydicom.encaps.encapsulate(compressed_frames(dataset))
            dataset.save_as(copy)
            return sitk.ReadImage(str(copy), imageIO="GDCMImageIO")
    except Exception:  # no DICOM; or damaged, whatever that makes the parser raise
        raise RuntimeError(f"{path} is damaged or of an unknown format") from None


def _header(path: Path, reader_name: str) -> sitk.ImageFileReader:
    def read(paths: list[str]) -> sitk.ImageFileReader:
        reader = sitk.ImageFileReader()
        reader.SetImageIO(reader_name)
        reader.SetFileName(paths[0])
        reader.ReadImageInformation()
        return reader

    return call_simpleitk(read, [path])


def _stated_bytes(path: Path, reader_name: str) -> int:
    """Bytes of the voxels that a file's header states."""
    header = _header(path, reader_name)
    components = header.GetNumberOfComponents()
    one = sitk.Image([1] * max(header.GetDimension(), 2), header.GetPixelID(), components)
    return int(np.prod(header.GetSize(), dtype=object)) * components * one.GetSizeOfPixelComponent()


def _bytes_on_disk(path: Path) -> int:
    """Of the file, or of all beside it where the header is a file of its own."""
    if path.suffix.lower() in (".nhdr", ".mhd"):
        return sum(other.stat().st_size for other in path.parent.iterdir() if other.is_file())
    return path.stat().st_size


def _nifti_is_complete(path: Path) -> bool:
    """Whether a NIfTI file holds as many bytes as its header states (header: nifti1.h, nifti2.h)."""
    is_packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            header = stream.read(540)
            order = "<" if struct.unpack("<i", header[:4])[0] in (348, 540) else ">"
            if struct.unpack(order + "i", header[:4])[0] == 540:
                bits, sizes = struct.unpack(order + "h", header[14:16])[0], struct.unpack(order + "8q", header[16:80])
                offset = struct.unpack(order + "q", header[168:176])[0]
            else:
                bits, sizes = struct.unpack(order + "h", header[72:74])[0], struct.unpack(order + "8h", header[40:56])
                offset = int(struct.unpack(order + "f", header[108:112])[0])
            expected = offset + int(np.prod(sizes[1 : sizes[0] + 1], dtype=np.int64)) * bits // 8
            if not is_packed:
                return path.stat().st_size >= expected
            with path.open("rb") as raw:
                raw.seek(-4, os.SEEK_END)
                if struct.unpack("<I", raw.read())[0] == expected % 2**32:  # gzip's own note of the length
                    return True
            length = len(header)  # several gzip members, or trailing bytes: count
            while chunk := stream.read(1 << 24):
                length += len(chunk)
            return length >= expected
    except (OSError, EOFError, zlib.error, struct.error):
        return False


def call_simpleitk(read: Callable[[list[str]], T], paths: Sequence[Path]) -> T:
    """``read`` called with ``paths`` as SimpleITK can open them.

    Some of ITK's file formats cannot open a path with letters outside ASCII on some systems; the files
    are then read from a copy in the temporary folder.

    Raises
    ------
    RuntimeError
        As SimpleITK does, if the files cannot be read either way.
    """
    try:
        with without_warnings():
            try:
                return read([str(path) for path in paths])
            except RuntimeError:
                if all(str(path).isascii() for path in paths):
                    raise
            with tempfile.TemporaryDirectory(prefix="diffpose-") as folder:
                copies = []
                for number, path in enumerate(paths):
                    suffix = "".join(path.suffixes[-2:]) if path.name.lower().endswith(".nii.gz") else path.suffix
                    copies.append(str(shutil.copyfile(path, Path(folder) / f"{number:06d}{suffix}")))
                return read(copies)
    except UnicodeDecodeError:  # of a message that quotes the file
        raise RuntimeError(f"{paths[0]} cannot be read") from None


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """While this lasts, ITK writes no warnings to the terminal."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
