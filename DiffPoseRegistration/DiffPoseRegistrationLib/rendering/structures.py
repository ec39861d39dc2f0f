"""One image for each labelled structure, out of one march through CT and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, prange

from ..errors import InputError
from ..geometry.camera import Camera
from ..imaging.attenuation import AttenuationRule
from ..imaging.values import CTVolume
from .grid import AttenuationGrid
from .launching import launching
from .rays import ray_bundle
from .single_ray import clip, trilinear

_AIR_HU = -1000.0


def only_structures(ct: CTVolume, labels: np.ndarray, chosen: Sequence[int]) -> CTVolume:
    """``ct`` with air wherever ``labels`` [k, j, i] is none of ``chosen``: what to render or register them alone.

    Raises
    ------
    InputError
        If the labels' shape is not the CT's, or none of ``chosen`` occurs.
    """
    labels = _checked(ct, labels)
    kept = np.isin(labels, list(chosen))
    if not kept.any():
        raise InputError(f"The segmentation of {ct.name} holds none of the labels {list(chosen)}; choose others.")
    return CTVolume(np.where(kept, ct.hounsfield, np.float32(_AIR_HU)), ct.ijk_to_ras, ct.name)


class StructureRenderer:
    """Renders each of some structures of a CT into its own channel.

    A sample of the trilinear march counts for the structure of its nearest voxel, so the channels of all labels, the
    background's among them, add up to the whole image.

    Parameters
    ----------
    ct, rule
        As for ``Renderer``.
    labels
        Array [k, j, i] of whole numbers on the CT's voxels.
    chosen
        The labels to render, in the order of the channels.
    step_voxels
        Distance between samples, in the smallest voxel edge.

    Raises
    ------
    InputError
        If labels and CT disagree, or a chosen label does not occur.
    """

    def __init__(
        self,
        ct: CTVolume,
        labels: np.ndarray,
        chosen: Sequence[int],
        rule: AttenuationRule | None = None,
        step_voxels: float = 0.5,
    ) -> None:
        labels = _checked(ct, labels)
        missing = sorted(set(chosen) - set(np.unique(labels).tolist()))
        if missing or not chosen:
            raise InputError(f"The segmentation of {ct.name} lacks the labels {missing}; choose labels that it has.")
        channel = np.zeros(int(labels.max()) + 1, np.uint16)
        channel[list(chosen)] = np.arange(1, len(chosen) + 1)
        attenuation = np.maximum((rule or AttenuationRule())(ct.hounsfield), 0)
        # Cropped to what was chosen, with a margin in which neighbours still take part in the interpolation.
        found = np.isin(labels, list(chosen))
        part = []
        for axis in range(3):
            along = np.flatnonzero(found.any(axis=tuple(a for a in range(3) if a != axis)))
            part.append(slice(max(int(along[0]) - 2, 0), int(along[-1]) + 3))
        crop_to_ijk = np.eye(4)
        crop_to_ijk[:3, 3] = [piece.start for piece in part[::-1]]
        affine = ct.ijk_to_ras @ crop_to_ijk
        self._grid = AttenuationGrid.from_attenuation(attenuation[tuple(part)], affine)
        self._channels = self._grid.resampled_nearest(channel[labels[tuple(part)]], affine)
        self._count = len(chosen)
        self._step_mm = step_voxels * float(self._grid.spacing_mm.min())

    def render(self, camera: Camera, pose: np.ndarray) -> np.ndarray:
        """Line integrals [structures, rows, columns], float32, at one pose [4, 4]."""
        rays = ray_bundle(camera, np.asarray(pose)[None], self._grid.ras_to_grid)
        images = np.zeros((self._count, camera.rows, camera.columns), np.float32)
        with launching():
            _images(self._grid.for_kernels, self._channels, tuple(rays), self._step_mm, images)
        return images


@njit(parallel=True, nogil=True, error_model="numpy", boundscheck=False, cache=True)
def _images(grid: Any, channels: Any, rays: Any, step_mm: float, images: Any) -> None:
    values, layout, scale, _ = grid
    origin, first, per_column, per_row, _, first_ras, per_column_ras, per_row_ras = rays
    _, rows, columns = images.shape
    ox, oy, oz = origin[0]
    for r in prange(rows):
        for c in range(columns):
            dx, dy, dz = first[0] + c * per_column[0] + r * per_row[0]
            ray = first_ras[0] + c * per_column_ras[0] + r * per_row_ras[0]
            dt = step_mm / math.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
            low, high = clip(ox, dx, layout[2], 0.0, 1.0)
            low, high = clip(oy, dy, layout[3], low, high)
            low, high = clip(oz, dz, layout[4], low, high)
            if low < high:
                start = math.ceil(low / dt - 0.5)
                for n in range(start, math.floor(high / dt - 0.5) + 1):
                    t = (n + 0.5) * dt
                    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
                    channel = channels[int(z + 0.5), int(y + 0.5), int(x + 0.5)]
                    if channel > 0:
                        one = trilinear(
                            values, layout[0], layout[1], np.float32(x), np.float32(y), np.float32(z),
                            np.float32(0), np.float32(0), np.float32(0), 1, None,
                        )  # fmt: skip
                        images[channel - 1, r, c] += scale * step_mm * one[0]


def _checked(ct: CTVolume, labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != ct.hounsfield.shape:
        raise InputError(
            f"The segmentation has shape {labels.shape} and {ct.name} {ct.hounsfield.shape}; resample it to the CT."
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise InputError(f"The segmentation of {ct.name} must hold whole numbers, 0 for the background.")
    return labels
