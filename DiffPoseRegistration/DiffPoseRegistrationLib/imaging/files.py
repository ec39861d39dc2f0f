"""Files at the boundary: existence, SimpleITK with awkward paths, whole-or-nothing writing."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk

from ..errors import InputError

T = TypeVar("T")

# RAS <-> LPS: both patient axes of the table plane change sign. Its own inverse.
LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_MOST_UNCHECKED = 2**24  # bytes
_DENSEST_PACKING = 1032  # of deflate


def existing_file(path: str | Path, what: str) -> Path:
    """``path`` as a Path, if it is a readable, non-empty file.

    Raises
    ------
    InputError
        Naming the path; ``what`` (such as "CT") says what was expected there.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name one {what} file.")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path of the {what}.")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the file's permissions.") from None
    if empty:
        raise InputError(f"{path} is empty; copy or export the {what} again.")
    return path


def call_simpleitk(read: Callable[[list[str]], T], paths: Sequence[Path]) -> T:
    """``read`` called with ``paths`` as SimpleITK can open them.

    Some of ITK's file formats cannot open a path with letters outside ASCII on some systems; the files
    are then read from a copy in the temporary folder.

    Raises
    ------
    RuntimeError
        As SimpleITK does, if the files cannot be read either way.
    """
    warnings_shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
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
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warnings_shown)


def read_image(path: Path) -> sitk.Image:
    """The image in a file of any format that SimpleITK reads, if it is complete.

    Raises
    ------
    RuntimeError
        If it is damaged, incomplete or of an unknown format.
    """
    if path.name.lower().endswith((".nii", ".nii.gz")) and not _nifti_is_complete(path):
        raise RuntimeError(f"{path} is incomplete")  # SimpleITK would fill the rest with anything
    stated = call_simpleitk(_stated_bytes, [path])
    if stated > _MOST_UNCHECKED and stated > _DENSEST_PACKING * _bytes_on_disk(path):
        raise RuntimeError(f"{path} states more than it holds")  # SimpleITK would make room for it first
    return call_simpleitk(lambda paths: sitk.ReadImage(paths[0]), [path])


def _stated_bytes(paths: list[str]) -> int:
    """Bytes of the voxels that a file's header states."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(paths[0])
    reader.ReadImageInformation()
    width = sitk.Image([1] * max(reader.GetDimension(), 2), reader.GetPixelID(), reader.GetNumberOfComponents())
    return (
        int(np.prod(reader.GetSize(), dtype=object)) * width.GetSizeOfPixelComponent() * reader.GetNumberOfComponents()
    )


def _bytes_on_disk(path: Path) -> int:
    """Of the file, or of all beside it where the header alone is a file."""
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


def write_whole(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file in the temporary folder and move it to ``path`` when it is complete.

    Raises
    ------
    InputError
        If the folder is missing or cannot be written; nothing is then left at ``path``.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    with tempfile.TemporaryDirectory(prefix="diffpose-") as folder:
        made = Path(folder) / f"file{path.suffix}"
        write(made)
        try:
            shutil.copyfile(made, beside)
            beside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):  # what cannot be written may not even be looked for
                beside.unlink(missing_ok=True)
            raise InputError(
                f"{path} cannot be written ({error.strerror or error}); choose a folder that exists and is writable."
            ) from None
