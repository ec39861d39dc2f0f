"""Volumes larger than is of use: cropped to the body, then halved where they are finest."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

MOST_VOXELS = 2**27  # 512 x 512 x 512: half a gigabyte as float32; X-rays show no finer detail than such a CT has

_BODY_HU = -400.0
_MARGIN_MM = 10.0
_WORTHWHILE = 0.9  # a crop that leaves more than this share is not worth another origin


def of_reasonable_size(
    voxels: np.ndarray, ijk_to_ras: np.ndarray, name: str, most: int = MOST_VOXELS
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """``voxels`` [k, j, i] (HU) and their affine [4, 4] with at most ``most`` voxels, and what was done, in a sentence.

    The mean of neighbouring voxels is taken, which keeps finer detail from turning into patterns (aliasing).
    """
    if voxels.size <= most:
        return voxels, ijk_to_ras, ()
    size_before, done = _words(voxels), []
    cropped = _body(voxels, ijk_to_ras)
    if cropped is not None:
        first, last = cropped
        voxels = voxels[tuple(slice(a, b) for a, b in zip(first, last))]
        ijk_to_ras = ijk_to_ras @ _offset(first[::-1])
        done.append("cropped to the body")
    factors = np.ones(3, int)
    while np.prod([-(-n // f) for n, f in zip(voxels.shape, factors)]) > most:
        spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)[::-1] * factors  # of k, j, i
        factors[np.flatnonzero(spacing <= 1.5 * spacing.min())] *= 2
    if factors.max() > 1:
        voxels = _block_means(voxels, factors)
        scale = np.diag([*factors[::-1], 1.0])
        ijk_to_ras = ijk_to_ras @ _offset((factors[::-1] - 1) / 2) @ scale
        done.append("averaged over " + " x ".join(str(n) for n in factors[::-1]) + " voxels")
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    sentence = (
        f"{name} is large ({size_before}); it was {' and '.join(done)} to {_words(voxels)}, spacing "
        "{:.2g} x {:.2g} x {:.2g} mm.".format(*spacing)
    )
    return np.ascontiguousarray(voxels), ijk_to_ras, (sentence,)


def _body(voxels: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """First and last (exclusive) voxel (k, j, i) of what is denser than air, found on a coarse grid; None if a crop is
    not worth while."""
    step = max(1, round((voxels.size / 2e6) ** (1 / 3)))
    dense = ndimage.binary_opening(voxels[::step, ::step, ::step] > _BODY_HU)  # without noise
    labels, count = ndimage.label(dense)
    if count == 0:
        return None
    body = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    margin = np.ceil(_MARGIN_MM / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)[::-1]).astype(int) + step
    places = [np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    first = np.maximum([p[0] * step for p in places] - margin, 0)
    last = np.minimum([(p[-1] + 1) * step for p in places] + margin, voxels.shape)
    return (first, last) if np.prod(last - first) < _WORTHWHILE * voxels.size else None


def _block_means(voxels: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Means of blocks of ``factors`` (k, j, i) voxels, slab by slab; what fills no whole block is left out."""
    sizes = np.maximum(np.array(voxels.shape) // factors, 1)
    fk, fj, fi = np.minimum(factors, voxels.shape)
    made = np.empty(sizes, np.float32)
    for k in range(sizes[0]):
        slab = voxels[k * fk : (k + 1) * fk, : sizes[1] * fj, : sizes[2] * fi]
        made[k] = slab.reshape(fk, sizes[1], fj, sizes[2], fi).mean(axis=(0, 2, 4), dtype=np.float64)
    return made


def _offset(ijk: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = ijk
    return matrix


def _words(voxels: np.ndarray) -> str:
    size = " x ".join(str(n) for n in voxels.shape[::-1])
    return f"{size} voxels, {voxels.size * 4 / 2**20:.0f} MB in memory"
