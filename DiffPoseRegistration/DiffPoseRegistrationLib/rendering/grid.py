"""The volume as the marchers want it.

Attenuation is stored in 16 bits (half the memory traffic of float32 at a rounding of 1/65535 of the
densest voxel), cropped to what attenuates at all, with a border of one zero voxel. The trilinear field
is then continuous, zero at its border and defined wherever a clipped ray can look, so the inner loop
needs no bounds check and the pose derivative of the sampled sum is exact.

Neighbours in memory are neighbours along the patient's long axis: the marchers load them in pairs, and the
beams of a C-arm hardly ever run along it. Rows of large volumes begin at a cache line and are an odd
number of lines long, so that rays through many planes do not fight for the same part of the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import InputError
from ..imaging.attenuation import AttenuationRule
from ..imaging.values import CTVolume

_FULL_SCALE = 65535.0
_LINE_VOXELS = 32  # 64 bytes
_ALIGNED_FROM_ROW = 96  # voxels; shorter rows would grow by more than a third


@dataclass(frozen=True)
class AttenuationGrid:
    """Attenuation samples on a regular grid.

    Parameters
    ----------
    values
        Array [k, j, i], uint16, with a zero border; a view into memory that is walked with its strides, i fastest.
    scale
        Attenuation [1/mm] of one count.
    ras_to_grid
        Affine [4, 4] from RAS mm to (i, j, k) indices into ``values``. The axes are the CT's in another order.
    """

    values: np.ndarray
    scale: float
    ras_to_grid: np.ndarray

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance [3] between samples along i, j, k."""
        return np.linalg.norm(np.linalg.inv(self.ras_to_grid)[:3, :3], axis=0)

    @property
    def size_ijk(self) -> tuple[int, int, int]:
        k, j, i = self.values.shape
        return i, j, k

    @cached_property
    def for_kernels(self) -> tuple[Any, ...]:
        """What a compiled marcher takes: flat values; layout [5], the distances of neighbours along j and k in them
        and the size along i, j, k; scale; and the linear part [3, 3] of RAS to grid."""
        strides = [step // self.values.itemsize for step in self.values.strides[1::-1]]
        flat = np.lib.stride_tricks.as_strided(self.values, (strides[1] * len(self.values),), self.values.strides[2:])
        layout = np.array([*strides, *self.size_ijk], dtype=np.int64)
        return flat, layout, float(self.scale), np.ascontiguousarray(self.ras_to_grid[:3, :3])

    @classmethod
    def from_attenuation(cls, attenuation: np.ndarray, ijk_to_ras: np.ndarray) -> AttenuationGrid:
        """From attenuation [k, j, i] in 1/mm (not negative) and its affine [4, 4].

        Raises
        ------
        InputError
            If nothing attenuates, or the volume is too large for 32-bit addresses.
        """
        attenuation, ijk_to_ras = _long_axis_first(attenuation, ijk_to_ras)
        peak = float(attenuation.max())
        occupied = attenuation > 0.5 * peak / _FULL_SCALE
        if peak <= 0 or not occupied.any():
            raise InputError("The CT holds nothing that attenuates X-rays; check that it is in Hounsfield units.")
        # The step from low to high index that covers everything occupied, per axis k, j, i.
        low, high = [], []
        for axis in range(3):
            along = np.flatnonzero(occupied.any(axis=tuple(a for a in range(3) if a != axis)))
            low.append(int(along[0]))
            high.append(int(along[-1]) + 1)
        inside = attenuation[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        values = _zeros(tuple(n + 2 for n in inside.shape))
        np.rint(inside * np.float32(_FULL_SCALE / peak), out=values[1:-1, 1:-1, 1:-1], casting="unsafe")
        grid_to_ijk = np.eye(4)
        grid_to_ijk[:3, 3] = np.array(low[::-1]) - 1.0
        return cls(values, peak / _FULL_SCALE, np.linalg.inv(ijk_to_ras @ grid_to_ijk))

    def resampled_nearest(self, labels: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
        """``labels`` [k, j, i] of the volume that this grid was made from, and of its affine, on the grid's samples
        [k, j, i]. Where the grid's border lies outside the volume, it has the label of the voxel beside it."""
        labels, ijk_to_ras = _long_axis_first(labels, ijk_to_ras)
        offset = (np.linalg.inv(ijk_to_ras) @ np.linalg.inv(self.ras_to_grid))[:3, 3]
        first = np.rint(offset).astype(int)[::-1] + 1  # the padding shifts by one voxel
        part = tuple(slice(low, low + n) for low, n in zip(first, self.values.shape))
        return np.ascontiguousarray(np.pad(labels, 1, mode="edge")[part])

    def halved(self) -> AttenuationGrid:
        """The next level of the pyramid: 2 x 2 x 2 means. A mean over the box is the antialiasing filter
        whose line integrals equal those of the fine grid averaged over the same box."""
        inside = self.values[1:-1, 1:-1, 1:-1].astype(np.float32) * self.scale
        padded = np.pad(inside, [(0, n % 2) for n in inside.shape])
        k, j, i = (n // 2 for n in padded.shape)
        mean = padded.reshape(k, 2, j, 2, i, 2).mean(axis=(1, 3, 5))
        coarse_to_fine = np.diag([2.0, 2.0, 2.0, 1.0])
        coarse_to_fine[:3, 3] = 1.5  # coarse index 0 lies between the fine indices 1 and 2 (after the border)
        return AttenuationGrid.from_attenuation(mean, np.linalg.inv(self.ras_to_grid) @ coarse_to_fine)


def attenuation_pyramid(ct: CTVolume, rule: AttenuationRule, levels: int) -> list[AttenuationGrid]:
    """The CT's attenuation at full resolution and at ``levels - 1`` halvings, finest first."""
    pyramid = [AttenuationGrid.from_attenuation(np.maximum(rule(ct.hounsfield), 0), ct.ijk_to_ras)]
    while len(pyramid) < levels and min(pyramid[-1].values.shape) > 8:
        pyramid.append(pyramid[-1].halved())
    return pyramid


def _long_axis_first(values: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``values`` [k, j, i] with the index nearest the patient's long axis as i, and the affine that goes with it."""
    axes = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    longest = int(np.argmax(np.abs(axes[2])))
    order = [longest, *(axis for axis in range(3) if axis != longest)]
    return values.transpose([2 - axis for axis in order[::-1]]), ijk_to_ras[:, [*order, 3]]


def _zeros(shape: tuple[int, int, int]) -> np.ndarray:
    """Zero counts [k, j, i], laid out as the module's docstring says."""
    k, j, row = shape
    if row >= _ALIGNED_FROM_ROW:
        row = (-(-row // _LINE_VOXELS) | 1) * _LINE_VOXELS
        j |= 1
    if k * j * row > np.iinfo(np.int32).max:
        raise InputError(f"The CT has {shape[2]} x {shape[1]} x {shape[0]} voxels, too many; crop or resample it.")
    memory = np.zeros(k * j * row + _LINE_VOXELS, np.uint16)
    start = (-memory.ctypes.data % 64) // memory.itemsize
    return memory[start : start + k * j * row].reshape(k, j, row)[:, : shape[1], : shape[2]]
