"""Where a bone that was cut out of its CT is seen: it is turned over a grid, and shifted to where its outline fits.

A descent on edges captures a few millimetres, and most of what the X-ray shows is not in the CT. A shift across the
beam hardly changes how a bone projects, so all shifts of one simulated X-ray are compared at once, by normalised
cross-correlation in Fourier space (J. P. Lewis, "Fast Normalized Cross-Correlation", Vision Interface 1995).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.values import XRay
from ..refinement.pyramid import cropped_to_projection, reduced
from ..rendering.renderer import Renderer

_SIDE = 128  # pixels
_SIGMA_PX = 1.5
_STRONGEST = 4.0  # median absolute deviations; beads and screws have stronger edges than any bone


class _Simulated(NamedTuple):
    """Transforms of outlines and of where they are not zero, [n, ...] of images of ``size``, and the outlines' norms
    [n]."""

    size: tuple[int, ...]
    outlines: np.ndarray
    supports: np.ndarray
    lengths: np.ndarray


class OutlineSearch:
    """Simulated X-rays of a bone at poses turned about a rough one, to be found in pictures.

    Parameters
    ----------
    pose
        ``camera_to_world`` [4, 4].
    rotation_deg, translation_mm
        How far off it may be, about the CT's centre and in each coordinate.
    step_deg
        Between the turns that are tried.
    """

    def __init__(
        self, renderer: Renderer, pose: np.ndarray, rotation_deg: float, translation_mm: float, step_deg: float = 5.0
    ) -> None:
        self._renderer, self._pose = renderer, pose
        self._translation_mm = np.sqrt(3) * translation_mm  # off in every coordinate, all of it across the beam
        half = int(np.ceil(rotation_deg / step_deg))
        angles = np.deg2rad(np.linspace(-rotation_deg, rotation_deg, 2 * half + 1))
        twists = np.zeros((angles.size**3, 6))
        twists[:, :3] = np.array(list(itertools.product(angles, repeat=3)))
        self._poses = rigid.update_pose(np.tile(pose, (len(twists), 1, 1)), twists, renderer.isocentre)
        self._simulated: dict[Camera, _Simulated] = {}

    def best(self, xray: XRay) -> tuple[np.ndarray, float]:
        """The turned pose [4, 4] whose outline is found best, shifted to there, and the NCC of outline and picture.
        Raises InputError if the CT does not project into the image."""
        part = cropped_to_projection(xray, self._renderer.grids[0], self._pose[None], self._translation_mm)
        level = reduced(part, _SIDE)
        simulated = self._at(level.camera)
        size = simulated.size
        seen = _outline(level.image)
        usable = ndimage.binary_erosion(level.weight > 0.99, iterations=int(3 * _SIGMA_PX), border_value=1)
        seen = np.where(usable, seen, 0.0)
        spread = np.median(np.abs(seen[usable])) if usable.any() else 0.0
        seen = np.clip(seen, -_STRONGEST * spread, _STRONGEST * spread)
        of_picture, of_energy = (fft.rfft2(image.astype(np.float32), size) for image in (seen, seen**2))
        within = self._shifts(level.camera, size)
        best, found, place = -np.inf, 0, 0
        for n, (outline, support, length) in enumerate(zip(simulated.outlines, simulated.supports, simulated.lengths)):
            product, energy = fft.irfft2(of_picture * outline, size), fft.irfft2(of_energy * support, size)
            fit = np.where(
                within, product / (length * np.sqrt(np.maximum(energy, 1e-3 * energy.max() + 1e-12))), -np.inf
            )
            if fit.max() > best:
                best, found, place = float(fit.max()), n, int(np.argmax(fit))
        rows, columns = (int(n) if n < s // 2 else int(n) - s for n, s in zip(np.unravel_index(place, size), size))
        return self._shifted(self._poses[found], level.camera, rows, columns), best

    def _at(self, camera: Camera) -> _Simulated:
        if camera not in self._simulated:
            images = self._renderer.render_batch(camera, self._poses, self._renderer.level_for(camera, self._depth()))
            if not images.any():
                raise InputError("The CT does not project into the image.")
            shift = self._largest_shift(camera)
            # Room for the shifts, so that none within the range wraps around.
            size = tuple(
                fft.next_fast_len(n + int(np.ceil(shift / mm)), real=True)
                for n, mm in zip(images.shape[1:], camera.pixel_spacing_mm)
            )
            supports = np.stack([ndimage.binary_dilation(image > 0, iterations=2) for image in images])
            outlines = np.stack([_outline(image) for image in images]) * supports
            self._simulated[camera] = _Simulated(
                size,
                np.conj(fft.rfft2(outlines.astype(np.float32), size)),
                np.conj(fft.rfft2(supports.astype(np.float32), size)),
                np.sqrt(np.maximum((outlines**2).sum(axis=(1, 2)), 1e-12)),
            )
        return self._simulated[camera]

    def _largest_shift(self, camera: Camera) -> float:
        """On the detector, mm."""
        return self._translation_mm * camera.source_to_detector_mm / self._depth()

    def _shifts(self, camera: Camera, size: tuple[int, ...]) -> np.ndarray:
        """Which shifts, [*size] as the transform orders them, the range allows."""
        largest = self._largest_shift(camera)
        steps = [fft.fftfreq(n, 1 / n) * spacing for n, spacing in zip(size, camera.pixel_spacing_mm)]
        return (np.abs(steps[0])[:, None] <= largest) & (np.abs(steps[1])[None] <= largest)

    def _shifted(self, pose: np.ndarray, camera: Camera, rows: int, columns: int) -> np.ndarray:
        """``pose`` from which the bone is seen so many pixels further down and to the right."""
        row_mm, column_mm = camera.pixel_spacing_mm
        scale = self._depth() / camera.source_to_detector_mm
        moved = np.array(pose)
        moved[:3, 3] -= pose[:3, :3] @ (scale * np.array([columns * column_mm * camera.u_sign, rows * row_mm, 0.0]))
        return moved

    def _depth(self) -> float:
        return float(np.linalg.norm(self._renderer.isocentre - self._pose[:3, 3]))


def _outline(image: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_laplace(image.astype(np.float64), _SIGMA_PX)
