"""CT series in folders of DICOM slices: which files belong together, and how they stack.

Slices that do not form an even, upright stack are resampled to one: a gantry that was tilted shifts each slice
sideways, a missing slice or a changed increment leaves a wider gap.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..errors import InputError
from .files import LPS_RAS
from .image_file import call_simpleitk

_MOST_FILES = 50_000
# Scanners round positions; a missing slice or a changed increment is far larger than this.
_EVEN_SHARE, _EVEN_MM = 0.05, 0.02
_UPRIGHT_PIXELS = 0.5
_WIDEST_GAPS = 2.5  # a gap of so many slices may be one or two that are missing; more would be invented
_AIR_HU = -1024.0


@dataclass(frozen=True)
class _Slice:
    """What a DICOM file says about its place in a stack (LPS, mm)."""

    path: Path
    rows: int
    columns: int
    frames: int
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, ...]
    label: str


@dataclass(frozen=True)
class Series:
    """A CT series as one even stack.

    voxels
        [k, j, i], HU. ijk_to_ras: [4, 4], mm.
    warnings
        What had to be done to it.
    """

    voxels: np.ndarray
    ijk_to_ras: np.ndarray
    name: str
    warnings: tuple[str, ...] = field(default=())


def read_series(folder: Path) -> Series | Path:
    """The largest CT series in ``folder``, or in the folders inside it if it has none itself; the file, if that is a
    series of one (multi-frame) file.

    Raises
    ------
    InputError
        If there is none, it cannot be decoded, or its slices leave too much to guess.
    """
    found = _ct_series(folder)
    if not found:
        raise InputError(f"{folder} holds no CT slices in DICOM; give the folder of a CT series or a volume file.")
    chosen = max(found.values(), key=lambda slices: sum(s.frames for s in slices))
    name, notes = folder.name, []
    if len(found) > 1:
        name = f"{folder.name} ({chosen[0].label})"
        notes.append(f"{folder} holds {len(found)} CT series; the largest was taken: {name}, {len(chosen)} slices.")
    if len(chosen) == 1:
        return chosen[0].path
    stack = _Stack(chosen, folder)
    voxels = stack.read()
    if stack.tilt_deg is not None:
        voxels = stack.upright(voxels)
        notes.append(
            f"{name} was taken with a gantry tilted by {stack.tilt_deg:.1f} degrees; its slices were shifted into an "
            "upright stack."
        )
    if not stack.is_even:
        voxels, gaps = stack.even(voxels)
        notes.append(
            f"{name} has slices {gaps.min():.2f} to {gaps.max():.2f} mm apart; it was resampled to "
            f"{stack.typical_mm:.2f} mm between them."
        )
    return Series(voxels, stack.ijk_to_ras, name, tuple(notes))


def _ct_series(folder: Path) -> dict[str, list[_Slice]]:
    """CT slices by series, of the files directly in ``folder``; if there are none, of those further inside."""
    series: dict[str, list[_Slice]] = defaultdict(list)
    for paths in (folder.iterdir(), folder.rglob("*")):
        for uid, item in _slices(sorted(path for _, path in zip(range(_MOST_FILES), paths))):
            series[uid].append(item)
        if series:
            return series
    return series


def _slices(paths: list[Path]) -> Iterator[tuple[str, _Slice]]:
    """(series, slice) of every file that holds CT pixels and is no scout view."""
    import pydicom

    for path in paths:
        if path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = pydicom.dcmread(path, stop_before_pixels=True)
            if header.get("Modality") != "CT" or "Rows" not in header or "LOCALIZER" in (header.get("ImageType") or ()):
                continue
            yield (
                str(header.get("SeriesInstanceUID")),
                _Slice(
                    path,
                    int(header.Rows),
                    int(header.Columns),
                    int(header.get("NumberOfFrames") or 1),
                    tuple(float(v) for v in header.get("ImageOrientationPatient") or ()),
                    tuple(float(v) for v in header.get("ImagePositionPatient") or ()),
                    tuple(float(v) for v in header.get("PixelSpacing") or ()),
                    f"series {header.get('SeriesNumber') or '?'}, "
                    f"{header.get('SeriesDescription') or 'without description'}",
                ),
            )
        except Exception:  # no DICOM, or damaged: whatever the parser raises
            continue


class _Stack:
    """Slices in order along their normal."""

    def __init__(self, slices: list[_Slice], folder: Path) -> None:
        self._folder = folder
        first = slices[0]
        if any(len(s.orientation) != 6 or len(s.position) != 3 or len(s.spacing) != 2 for s in slices):
            raise self._refusal("slices lack their position, orientation or pixel spacing")
        orientations = np.array([s.orientation for s in slices])
        spacings = np.array([s.spacing for s in slices])
        positions = np.array([s.position for s in slices])
        if not (np.isfinite(positions).all() and np.isfinite(orientations).all() and (spacings > 0).all()):
            raise self._refusal("slices have a position or pixel spacing that is none")
        if any((s.rows, s.columns) != (first.rows, first.columns) for s in slices):
            raise self._refusal("slices of different size are mixed in one series")
        if np.abs(orientations - orientations[0]).max() > 1e-3:
            raise self._refusal("slices of different orientation are mixed in one series")
        if np.abs(spacings - first.spacing).max() > 1e-3:
            raise self._refusal("slices of different pixel spacing are mixed in one series")
        self._along_row, self._along_column = orientations[0, :3], orientations[0, 3:]
        normal = np.cross(self._along_row, self._along_column)
        if abs(np.linalg.norm(normal) - 1) > 1e-2:
            raise self._refusal("slices have axes that are not perpendicular")
        self._normal = normal / np.linalg.norm(normal)
        self._row_mm, self._column_mm = first.spacing
        order = np.argsort(positions @ self._normal, kind="stable")
        self._paths = [slices[n].path for n in order]
        self._origin = positions[order[0]]
        self._place(positions[order] - self._origin)

    def _place(self, offsets: np.ndarray) -> None:
        """Check and keep where the slices lie, ``offsets`` [n, 3] (LPS, mm) from the first."""
        self._along = offsets @ self._normal
        gaps = np.diff(self._along)
        self.typical_mm = float(np.median(gaps))
        if gaps.min() < 0.01:
            raise self._refusal("two slices lie at the same place")
        if gaps.max() > _WIDEST_GAPS * self.typical_mm:
            raise self._refusal(
                f"slices are spaced unevenly, with a gap of {gaps.max():.2f} mm where most are {self.typical_mm:.2f} mm"
            )
        self.is_even = bool(np.abs(gaps - self.typical_mm).max() <= max(_EVEN_SHARE * self.typical_mm, _EVEN_MM))
        # How far each slice lies beside the first one's normal, in pixels: (column, row).
        beside = np.stack([offsets @ self._along_row / self._column_mm, offsets @ self._along_column / self._row_mm], 1)
        self._beside = beside
        self.tilt_deg: float | None = None
        if np.linalg.norm(beside, axis=1).max() > _UPRIGHT_PIXELS:
            slope = beside.T @ self._along / (self._along @ self._along)  # pixels a millimetre, through the first
            if np.abs(beside - self._along[:, None] * slope).max() > _UPRIGHT_PIXELS:
                raise self._refusal("slices are shifted sideways, each by another amount")
            self.tilt_deg = float(np.rad2deg(np.arctan(np.hypot(slope[0] * self._column_mm, slope[1] * self._row_mm))))

    def read(self) -> np.ndarray:
        """Voxels [k, j, i] as they lie in the files, HU."""
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")

        def read(names: list[str]) -> sitk.Image:
            reader.SetFileNames(names)
            return reader.Execute()

        try:
            return sitk.GetArrayFromImage(call_simpleitk(read, self._paths))
        except RuntimeError:
            raise InputError(
                f"{self._folder} holds CT slices that cannot be decoded; export the series again."
            ) from None

    def upright(self, voxels: np.ndarray) -> np.ndarray:
        """Each slice shifted back over the first, on a grid that holds all of them; outside is air."""
        low, high = np.floor(self._beside.min(axis=0)), np.ceil(self._beside.max(axis=0))
        columns, rows = (int(n) for n in high - low)
        made = np.full((len(voxels), voxels.shape[1] + rows, voxels.shape[2] + columns), _AIR_HU, np.float32)
        for k, (column, row) in enumerate(self._beside):
            wide = np.full(made.shape[1:], _AIR_HU, np.float32)
            wide[: voxels.shape[1], : voxels.shape[2]] = voxels[k]
            ndimage.shift(wide, (row - low[1], column - low[0]), made[k], order=1, cval=_AIR_HU)
        self._origin = (
            self._origin + low[0] * self._column_mm * self._along_row + low[1] * self._row_mm * self._along_column
        )
        return made

    def even(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slices the typical distance apart, each between its two neighbours, and the gaps (mm) there were."""
        count = int(np.floor(self._along[-1] / self.typical_mm + 1e-6)) + 1
        wanted = np.arange(count) * self.typical_mm
        above = np.clip(np.searchsorted(self._along, wanted, side="left"), 1, len(voxels) - 1)
        share = (wanted - self._along[above - 1]) / (self._along[above] - self._along[above - 1])
        made = np.empty((count, *voxels.shape[1:]), np.float32)
        for k, (n, part) in enumerate(zip(above, np.clip(share, 0, 1))):
            made[k] = (1 - part) * voxels[n - 1] + part * voxels[n]
        return made, np.diff(self._along)

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """Affine [4, 4] of the stack, made even and upright."""
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = self._along_row * self._column_mm, self._along_column * self._row_mm
        # The mean distance of an even stack is more exact than the typical one, since positions are rounded.
        step = self._along[-1] / (len(self._along) - 1) if self.is_even else self.typical_mm
        affine[:3, 2], affine[:3, 3] = self._normal * step, self._origin
        return LPS_RAS @ affine

    def _refusal(self, problem: str) -> InputError:
        return InputError(
            f"{self._folder}: {problem}; export one CT series with evenly spaced slices to a folder of its own."
        )
