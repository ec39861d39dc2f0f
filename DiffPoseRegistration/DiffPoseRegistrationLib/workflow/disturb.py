"""What X-rays suffer in practice, done to X-ray files: metal, labels, text, collimation, saturation, inversion.

A disturbed X-ray is written as a file and read like any other, so that finding what disturbs it is the reader's task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError
from ..imaging.files import write_whole

_Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
_ROD_SHARE = 0.025  # of the image's longest side: a rod or nail of 6 mm, magnified
_ROD_TRANSMISSION = 0.02  # 6 mm of steel at 70 keV (NIST XCOM: 0.65 per mm)
_COLLIMATED_SHARE = 0.2  # of the image's area
_BLADE_TRANSMISSION = 0.01
_CORNER_SHARE = 0.4  # radius of a saturated corner, of the image's shorter side


def known_disturbances(kinds: Sequence[str]) -> Sequence[str]:
    """``kinds`` themselves; raises InputError if one is none of :data:`DISTURBANCES`."""
    for kind in kinds:
        if kind not in DISTURBANCES:
            raise InputError(f"There is no disturbance {kind!r}; choose from {', '.join(DISTURBANCES)}.")
    return kinds


def write_disturbed(source: Path, folder: Path, kind: str, seed: int) -> Path:
    """Write the X-ray file ``source`` into ``folder`` (created), disturbed; returns its path.

    Parameters
    ----------
    source
        A DICOM file, or a picture with one channel, whose values grow with radiation.
    kind
        One of :data:`DISTURBANCES`.
    seed
        Of where the disturbance lies.

    Raises
    ------
    InputError
        If there is no such disturbance, or it cannot be done to this file.
    """
    known_disturbances([kind])
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / source.name
    random = np.random.default_rng(seed)
    change = DISTURBANCES[kind]
    if source.suffix.lower() == ".dcm":
        _write_dicom(source, made, change, random)
    elif change is None:
        raise InputError(f"{source.name} has no header that could state an inversion; that takes a DICOM file.")
    else:
        _write_picture(source, made, change, random)
    return made


def _write_dicom(source: Path, made: Path, change: _Change | None, random: np.random.Generator) -> None:
    import pydicom

    dataset = pydicom.dcmread(source)
    if int(dataset.get("NumberOfFrames") or 1) > 1 or int(dataset.get("PixelIntensityRelationshipSign") or 1) != 1:
        raise InputError(f"{source.name} cannot be disturbed: it is no single image whose values grow with radiation.")
    stored = dataset.pixel_array
    largest = 2 ** int(dataset.BitsStored) - 1
    if change is None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.PixelIntensityRelationshipSign = -1
        changed = largest - stored
    else:
        changed = change(stored.astype(np.float64), float(largest), random)
    changed = np.clip(np.rint(changed), 0, largest).astype(stored.dtype)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress()
    dataset.PixelData = changed.tobytes()
    write_whole(made, lambda path: dataset.save_as(path))


def _write_picture(source: Path, made: Path, change: _Change, random: np.random.Generator) -> None:
    with Image.open(source) as picture:
        stored = np.asarray(picture)
    if stored.ndim != 2 or stored.dtype.kind != "u":
        raise InputError(f"{source.name} cannot be disturbed: it is no picture with one channel of whole numbers.")
    largest = np.iinfo(stored.dtype).max
    changed = change(stored.astype(np.float64), float(largest), random)
    changed = np.clip(np.rint(changed), 0, largest).astype(stored.dtype)
    write_whole(made, lambda path: Image.fromarray(changed).save(path))


# Each takes radiation [rows, columns] from 0 to the largest value that can be stored, and gives it disturbed.


def _rod(radiation: np.ndarray, _largest: float, random: np.random.Generator) -> np.ndarray:
    """A steel rod across the image, somewhere through its middle half."""
    size = np.array(radiation.shape)
    through, angle = size * random.uniform(0.25, 0.75, 2), random.uniform(0, np.pi)
    row, column = np.mgrid[: size[0], : size[1]]
    aside = (row - through[0]) * np.cos(angle) - (column - through[1]) * np.sin(angle)
    radius = _ROD_SHARE * size.max() / 2
    chord = np.sqrt(np.maximum(1 - (aside / radius) ** 2, 0))  # of a cylinder, of its diameter
    return radiation * _ROD_TRANSMISSION**chord


def _label(radiation: np.ndarray, _largest: float, random: np.random.Generator) -> np.ndarray:
    """A black rectangle, a tenth by a third of the image."""
    rows, columns = radiation.shape
    height, width = round(0.1 * rows), round(0.33 * columns)
    top, left = random.integers(0, rows - height), random.integers(0, columns - width)
    radiation = radiation.copy()
    radiation[top : top + height, left : left + width] = 0
    return radiation


def _text(radiation: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """Three lines of white letters in one of the corners."""
    rows, columns = radiation.shape
    page = Image.new("1", (columns, rows))
    font = ImageFont.load_default(size=max(rows // 18, 8))
    left, top = random.choice([0.04, 0.55]) * columns, random.choice([0.04, 0.75]) * rows
    ImageDraw.Draw(page).multiline_text((left, top), "DOE^JANE  L\n12:34:56\n70 kV  320 mA", fill=1, font=font)
    return np.where(np.asarray(page), largest, radiation)


def _collimated(radiation: np.ndarray, _largest: float, random: np.random.Generator) -> np.ndarray:
    """Straight blades over a fifth of the image, on some or all of its sides."""
    height = random.uniform(1 - _COLLIMATED_SHARE, 1)
    inside = np.ones(radiation.shape, bool)
    for axis, kept in ((0, height), (1, (1 - _COLLIMATED_SHARE) / height)):
        length = radiation.shape[axis]
        first = round(random.uniform(0, 1 - kept) * length)
        place = np.arange(length)
        line = (place >= first) & (place < first + round(kept * length))
        inside &= line[:, None] if axis == 0 else line[None, :]
    behind = _BLADE_TRANSMISSION * float(np.percentile(radiation, 99))
    return np.where(inside, radiation, random.poisson(np.full(radiation.shape, behind)))


def _corner(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Depth [rows, columns] in a corner: 1 in its tip, 0 at its rim and beyond."""
    rows, columns = shape
    row, column = np.mgrid[:rows, :columns]
    tip = random.choice([0, rows - 1]), random.choice([0, columns - 1])
    distance = np.hypot(row - tip[0], column - tip[1])
    return np.maximum(1 - distance / (_CORNER_SHARE * min(rows, columns)), 0)


def _bright_corner(radiation: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """A corner exposed a thousand times too long: white, with a rim that is too bright."""
    return np.minimum(radiation * 1000 ** np.minimum(4 * _corner(radiation.shape, random), 1), largest)


def _dark_corner(radiation: np.ndarray, _largest: float, random: np.random.Generator) -> np.ndarray:
    """A corner that no radiation reaches."""
    return np.where(_corner(radiation.shape, random) > 0, 0, radiation)


DISTURBANCES: dict[str, _Change | None] = {
    "rod": _rod,
    "label": _label,
    "text": _text,
    "collimated": _collimated,
    "bright-corner": _bright_corner,
    "dark-corner": _dark_corner,
    "inverted": None,  # of what is stored, and the header says so
}
