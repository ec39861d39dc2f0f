"""Files as bad disks, bad software and bad people make them, and a process that reads them under limits.

Run as a program (``hostile_files.py FOLDER``) it reads every file in FOLDER as a CT and as an X-ray, and prints a JSON
line each time: what came of it, and how much processor time that took; at the end the most memory it ever had.
"""

import gzip
import io
import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from dicom_files import image_dataset
from PIL import Image
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    XRayAngiographicImageStorage,
)

_SYNTAXES = {"JPEG": JPEGBaseline8Bit, "JPEG2000": JPEG2000Lossless}
MOST_MEMORY = 2 * 2**30
GEOMETRY = {
    "Modality": "XA",
    "DistanceSourceToDetector": "1000",
    "ImagerPixelSpacing": ["0.5", "0.25"],
    "PixelIntensityRelationship": "LIN",
    "PixelIntensityRelationshipSign": 1,
    "PositionerPrimaryAngle": "10",
    "PositionerSecondaryAngle": "5",
    "PatientOrientation": ["L", "F"],
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 3,
    "ShutterRightVerticalEdge": 60,
    "ShutterUpperHorizontalEdge": 3,
    "ShutterLowerHorizontalEdge": 50,
}
ABSURD = {
    "ImagerPixelSpacing": (["-0.5", "0.5"], ["0", "0"], ["1e300", "1e300"], ["0.5"], [], ["1e-30", "1e-30"]),
    "DistanceSourceToDetector": ("-1000", "0", "1e30", "", "-0"),
    "Rows": (0, 1, 65535),
    "Columns": (0, 1, 65535),
    "NumberOfFrames": ("0", "-3", "1000000000", "2"),
    "BitsAllocated": (0, 1, 12, 64, 65535),
    "BitsStored": (0, 1, 17, 60000),
    "HighBit": (0, 500),
    "SamplesPerPixel": (0, 2, 3, 60000),
    "PixelRepresentation": (1, 7, 65535),
    "PhotometricInterpretation": ("", "PALETTE COLOR", "YBR_FULL", "MAGIC", "RGB"),
    "RescaleSlope": ("0", "-1", "1e300", "-1e-300"),
    "RescaleIntercept": ("1e300", "-1e10"),
    "Modality": ("", "CT", "RTIMAGE", "X" * 16),
    "PixelIntensityRelationship": ("LOG", "DISP", "NONSENSE"),
    "PositionerPrimaryAngle": ("1e9", "-99999"),
    "PatientOrientation": (["", ""], ["Q", "Z"], ["L"], ["L"] * 5),
    "ShutterLeftVerticalEdge": (-30000, 30000),
    "PixelData": (b"", b"\0\0", bytes(70000)),
}
# What pydicom refuses to write is written over in the file: the value's first bytes.
RAW = ((b"1000", b"NaN "), (b"1000", b"1e99"), (b"0.5\\", b"NaN\\"), (b"0.5\\", b"inf\\"), (b"LIN ", b"\xff\xfe\0\0"))


def _base_files() -> list[bytes]:
    """Small X-rays as several programs would write them."""
    pixels, made = _pixels(), []
    for kind in ("plain", "implicit", "frames", "rle", "JPEG", "JPEG2000"):
        shown = np.stack([pixels, pixels[::-1], pixels[:, ::-1]]) if kind == "frames" else pixels
        dataset = image_dataset(Path("x.dcm"), shown, XRayAngiographicImageStorage, **GEOMETRY)
        if kind == "rle":
            dataset.compress(RLELossless)
        elif kind in _SYNTAXES:
            _compress(dataset, compressed_stream(kind, pixels), kind)
        file = io.BytesIO()
        if kind == "implicit":
            del dataset.file_meta
            dataset.preamble = None
            pydicom.dcmwrite(file, dataset, implicit_vr=True, little_endian=True)
        else:
            dataset.save_as(file)
        made.append(file.getvalue())
    return made


def _pixels() -> np.ndarray:
    row, column = np.mgrid[:56, :64]
    return (2000 + 37 * row + 11 * column + 500 * np.hypot(row - 12, column - 40)).astype(np.uint16)


def compressed_stream(kind: str, pixels: np.ndarray | None = None) -> bytes:
    """An image, by default of 56 x 64 pixels, as "JPEG" or "JPEG2000"."""
    packed = io.BytesIO()
    grey = ((_pixels() if pixels is None else pixels) // 256).astype(np.uint8)
    Image.fromarray(grey).save(packed, kind, **({} if kind == "JPEG" else {"no_jp2": True}))
    return packed.getvalue()


def write_stream(path: Path, stream: bytes, kind: str) -> None:
    """A DICOM X-ray of 56 x 64 pixels with ``stream`` for its pixels, true or not."""
    dataset = image_dataset(path, _pixels(), XRayAngiographicImageStorage, **GEOMETRY)
    _compress(dataset, stream, kind)
    dataset.save_as(path)


def _compress(dataset: pydicom.dataset.FileDataset, stream: bytes, kind: str) -> None:
    dataset.file_meta.TransferSyntaxUID = _SYNTAXES[kind]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pydicom.encaps.encapsulate([stream])


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    end = len(data) if rng.random() < 0.4 else min(len(data), 1200)  # mostly in the header
    for _ in range(int(rng.integers(1, 40))):
        data[rng.integers(end)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = np.sort(rng.integers(1, len(content), 2))
    kind = rng.integers(3)
    if kind == 0:
        return content[:last]
    return content[:first] + content[last:] if kind == 1 else content[:last] + content[first:]


def _absurd(content: bytes, rng: np.random.Generator) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    for keyword in rng.choice(list(ABSURD), int(rng.integers(1, 4)), replace=False):
        values = ABSURD[keyword]
        setattr(dataset, str(keyword), values[rng.integers(len(values))])
    file = io.BytesIO()
    try:
        if "TransferSyntaxUID" in dataset.file_meta:
            dataset.save_as(file)
        else:
            pydicom.dcmwrite(file, dataset, implicit_vr=True, little_endian=True)
    except Exception:  # pydicom would not write it: another way to harm the file
        return _overwritten(content, rng)
    return file.getvalue()


def _overwritten(content: bytes, rng: np.random.Generator) -> bytes:
    old, new = RAW[rng.integers(len(RAW))]
    return content.replace(old, new, 1)


def write_mutated_dicoms(folder: Path, count: int, seed: int) -> None:
    """``count`` DICOM files with flipped bits, missing and repeated parts, and values that no machine means."""
    rng, bases = np.random.default_rng(seed), _base_files()
    harms = (_flipped, _cut, _absurd, _overwritten)
    for number in range(count):
        harm = harms[number % len(harms)]
        content = harm(bases[int(rng.integers(len(bases)))], rng)
        (folder / f"{number:03d}{harm.__name__}.dcm").write_bytes(content)


def write_hostile_volumes(folder: Path, count: int, seed: int) -> None:
    """``count`` NRRD and NIfTI files whose headers lie, contradict themselves, or are no headers any more."""
    rng = np.random.default_rng(seed)
    k, j, i = np.mgrid[:6, :7, :8]
    image = sitk.GetImageFromArray((40 * k + 30 * j + 20 * i - 600).astype(np.int16))
    bases = {}
    for name in ("ct.nrrd", "plain.nrrd", "ct.nii", "ct.nii.gz"):
        sitk.WriteImage(image, str(folder / name), name != "plain.nrrd")
        bases[name] = (folder / name).read_bytes()
        (folder / name).unlink()
    lies = list(_nrrd_lies())
    for number in range(count):
        name = list(bases)[number % len(bases)]
        content, kind = bases[name], int(rng.integers(3))
        if kind == 0:
            content = _flipped(content, rng)
        elif kind == 1:
            content = _cut(content, rng)
        elif name.endswith(".nrrd"):
            old, new = lies[rng.integers(len(lies))]
            content = content.replace(old, new, 1)
        else:
            content = _nifti_lie(content, rng)
        (folder / f"{number:03d}-{name}").write_bytes(content)


def _nrrd_lies() -> Iterator[tuple[bytes, bytes]]:
    for sizes in (
        b"0 0 0",
        b"-8 7 6",
        b"8 7",
        b"1000000 1000000 1000000",
        b"8 7 6 5",
        b"99999999999999999999 1 1",
        b"8 7 x",
    ):
        yield b"sizes: 8 7 6", b"sizes: " + sizes
    for kind in (b"block", b"double", b"uint64", b"nonsense", b""):
        yield b"type: short", b"type: " + kind
    for directions in (
        b"(nan,0,0) (0,1,0) (0,0,1)",
        b"(0,0,0) (0,0,0) (0,0,0)",
        b"(1e308,0,0) (0,1e308,0) (0,0,1e308)",
        b"none none none",
    ):
        yield b"space directions: (1,0,0) (0,1,0) (0,0,1)", b"space directions: " + directions
    for packing in (b"bzip2", b"hex", b"txt", b"unheard"):
        yield b"encoding: gzip", b"encoding: " + packing
    yield b"dimension: 3", b"dimension: 16"
    yield b"dimension: 3", b"dimension: -1"
    yield b"space origin: (0,0,0)", b"data file: /dev/zero\nspace origin: (0,0,0)"
    yield b"space origin: (0,0,0)", b"line skip: 4000000000\nspace origin: (0,0,0)"
    yield b"space origin: (0,0,0)", b"byte skip: -99999999\nspace origin: (inf,0,0)"
    yield b"NRRD000", b"NRRD999"


def _nifti_lie(content: bytes, rng: np.random.Generator) -> bytes:
    is_packed = content[:2] == b"\x1f\x8b"
    data = bytearray(gzip.decompress(content) if is_packed else content)
    offset, form, values = (
        (40, "<8h", (3, 30000, 30000, 30000, 1, 1, 1, 1)),
        (40, "<8h", (-1, 8, 7, 6, 1, 1, 1, 1)),
        (40, "<8h", (7, 8, 7, 6, 5, 4, 3, 2)),
        (40, "<8h", (3, 0, 7, 6, 1, 1, 1, 1)),
        (70, "<h", (1,)),
        (70, "<h", (12345,)),
        (72, "<h", (0,)),
        (72, "<h", (-8,)),
        (76, "<4f", (float("nan"), 0.0, -1.0, 1e38)),
        (108, "<f", (1e30,)),
        (108, "<f", (float("nan"),)),
        (108, "<f", (-500.0,)),
        (112, "<2f", (float("inf"), float("nan"))),
        (112, "<2f", (0.0, 0.0)),
        (252, "<2h", (99, -99)),
        (280, "<12f", (0.0,) * 12),
        (280, "<12f", (float("nan"),) * 12),
        (0, "<i", (0,)),
        (0, "<i", (540,)),
    )[int(rng.integers(19))]
    data[offset : offset + struct.calcsize(form)] = struct.pack(form, *values)
    return gzip.compress(bytes(data)) if is_packed else bytes(data)


def _peak_memory() -> int:
    """Most memory that this program ever held, bytes. (What getrusage tells is also its parent's before it began.)"""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def main(folder: Path) -> None:
    """Read every file in ``folder`` and say what came of it."""
    import resource  # not on Windows

    from DiffPoseRegistrationLib.errors import InputError
    from DiffPoseRegistrationLib.geometry.camera import Camera
    from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
    from DiffPoseRegistrationLib.imaging.xray_reader import read_xray

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY + _address_space(), resource.RLIM_INFINITY))
    camera = Camera(1000, 56, 64, (0.5, 0.25))
    for path in sorted(folder.iterdir()):
        for read in (lambda p: read_xray(p), lambda p: read_xray(p, camera), read_ct):
            began = time.process_time()
            try:
                said = f"read {read(path).name}"
            except InputError as error:
                said = str(error)
            print(json.dumps([path.name, said, time.process_time() - began]), flush=True)
    print(json.dumps(["peak", _peak_memory(), 0.0]), flush=True)


def _address_space() -> int:
    """Bytes that the libraries alone take, most of them never touched."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
