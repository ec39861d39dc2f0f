"""The X-ray at the scales of the schedule, and the part of it that the CT can explain."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.values import XRay
from ..rendering.grid import AttenuationGrid


@dataclass(frozen=True)
class XRayLevel:
    """The X-ray at one scale: image and pixel weights [rows, columns] (float32) and their camera."""

    image: np.ndarray
    weight: np.ndarray
    camera: Camera

    @classmethod
    def of(cls, xray: XRay) -> XRayLevel:
        return cls(xray.attenuation, xray.mask.astype(np.float32), xray.camera)


def reduced(xray: XRay | XRayLevel, longest_side: int) -> XRayLevel:
    """``xray`` averaged over equal areas to at most ``longest_side`` pixels; masked pixels do not count.

    A reduced pixel's weight is the share of its area that is inside the mask. Pixels without any take the value
    of the nearest one that has some, so that a filter finds no edge where the mask ends.
    """
    full = XRayLevel.of(xray) if isinstance(xray, XRay) else xray
    rows, columns = full.image.shape
    factor = min(1.0, longest_side / max(rows, columns))
    size = (max(4, round(rows * factor)), max(4, round(columns * factor)))
    down, across = _shares(rows, size[0]), _shares(columns, size[1])
    weight, total = ((across @ (down @ values).T).T for values in (full.weight, full.weight * full.image))
    mean = total / np.maximum(weight, 1e-6)
    if not weight.all():
        nearest = ndimage.distance_transform_edt(weight == 0, return_distances=False, return_indices=True)
        mean = mean[tuple(nearest)]
    mean, weight = np.ascontiguousarray(mean), np.ascontiguousarray(weight)
    return XRayLevel(mean, weight, full.camera.resampled(*size))


@functools.lru_cache(maxsize=32)
def _shares(full: int, reduced: int) -> sparse.csr_array:
    """Matrix [reduced, full] of what share each of ``full`` pixels has in the average over each of fewer and larger
    ones."""
    edges = np.arange(reduced + 1) * (full / reduced)
    pixel = np.arange(full)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return sparse.csr_array(np.where(overlap > 1e-9, overlap * (reduced / full), 0).astype(np.float32))


def cropped_to_projection(
    xray: XRay, grid: AttenuationGrid, poses: np.ndarray, margin_mm: float, smallest_share: float = 0.8
) -> XRay:
    """``xray`` cut to where the CT projects from any of ``poses`` [n, 4, 4], plus a margin.

    A bone cut out of a CT fills a small part of an X-ray; the rest of the image can only disturb and
    would waste resolution. ``margin_mm`` is at the isocentre's depth. Nothing is cut when the part to
    keep is more than ``smallest_share`` of the image anyway.
    """
    i, j, k = grid.size_ijk
    corners = np.array([[a, b, c] for a in (0, i - 1) for b in (0, j - 1) for c in (0, k - 1)], dtype=np.float64)
    points = rigid.transform_points(np.linalg.inv(grid.ras_to_grid), corners)
    camera = xray.camera
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for pose in poses:
        in_camera = rigid.transform_points(rigid.inverse(pose), points)
        if (in_camera[:, 2] <= 1.0).any():
            return xray  # the source is inside the CT's box: it projects everywhere
        pixels = camera.project(in_camera)
        scale = camera.source_to_detector_mm / np.median(in_camera[:, 2])
        margin = margin_mm * scale / np.array(camera.pixel_spacing_mm[::-1])
        low, high = np.minimum(low, pixels.min(axis=0) - margin), np.maximum(high, pixels.max(axis=0) + margin)
    left, top = np.maximum(np.floor(low), 0).astype(int)
    right = min(int(np.ceil(high[0])) + 1, camera.columns)
    bottom = min(int(np.ceil(high[1])) + 1, camera.rows)
    kept = max(0, right - left) * max(0, bottom - top) / (camera.rows * camera.columns)
    if kept > smallest_share or right - left < 16 or bottom - top < 16:
        return xray
    part = (slice(top, bottom), slice(left, right))
    if xray.mask[part].sum() < 64 or np.ptp(xray.attenuation[part][xray.mask[part]]) <= 0:
        return xray
    return XRay(
        xray.attenuation[part],
        camera.cropped(int(top), int(left), int(bottom - top), int(right - left)),
        xray.mask[part],
        xray.name,
        xray.provenance,
        xray.warnings,
    )
