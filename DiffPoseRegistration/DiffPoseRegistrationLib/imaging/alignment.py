"""Rigid alignment of one CT to another, so that "front" and "middle" mean the same in both.

Patients lie differently, volumes are cropped differently and may be oblique. Masses are laid over one another from
several heights of the table, the best is refined (SimpleITK: correlation of the grey values, conjugate gradients on a
pyramid of two). A thumbnail is enough: what follows needs centimetres. Bodies that look unlike stay mass on mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .image_file import without_warnings
from .values import CTVolume

AIR_HU = -1000.0
_LEAST_HU = -700.0  # of the densest voxel of 8 mm: air and noise stay below
_THUMBNAIL_MM, _MARGIN_MM = 8.0, 320.0
_BRIGHTEST = 1000.0  # HU; metal says nothing about where the patient lies
_HEIGHTS_MM = (-60.0, 0.0, 60.0)  # volumes show other stretches of the body
_LEAST_CORRELATION = 0.6


class Alignment(NamedTuple):
    """``motion`` [4, 4] takes points of the reference (RAS, mm) to those of the other volume; ``correlation`` of the
    grey values there, from 0 to 1."""

    motion: np.ndarray
    correlation: float

    @property
    def is_convincing(self) -> bool:
        """Whether the two look alike there."""
        return self.correlation >= _LEAST_CORRELATION


def thumbnail(ct: CTVolume, name: str = "thumbnail") -> CTVolume:
    """``ct`` on an upright grid of 8 mm."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in ct.size_ijk], indexing="ij")).reshape(3, -1)
    world = ct.ijk_to_ras[:3, :3] @ corners + ct.ijk_to_ras[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    affine = np.diag([_THUMBNAIL_MM] * 3 + [1.0])
    affine[:3, 3] = low
    grid = _image(np.zeros(np.maximum(np.ceil((high - low) / _THUMBNAIL_MM).astype(int) + 1, 2)[::-1]), affine)
    return CTVolume(_on_grid(ct, grid, sitk.Transform(3, sitk.sitkIdentity)), affine, name)


def align(reference: CTVolume, ct: CTVolume) -> Alignment:
    """How ``ct`` lies relative to ``reference``; the same every time for the same two.

    Raises
    ------
    InputError
        If one of them is empty.
    """
    fixed, moving = _clipped(thumbnail(reference)), _padded(thumbnail(ct))
    for image, name in ((fixed, reference.name), (moving, ct.name)):
        if sitk.GetArrayViewFromImage(image).max() < _LEAST_HU:
            raise InputError(f"{name} shows nothing but air; leave it out.")
    # Steps in which the volumes do not meet are part of a search, and no news for a terminal.
    with _one_thread(), without_warnings():
        start = sitk.Euler3DTransform(_by_mass(fixed, moving))
        tried = [_refined(fixed, moving, _higher(start, mm), iterations=6, coarse=True) for mm in _HEIGHTS_MM]
        best = max(tried, key=lambda one: one[1])
        transform, correlation = _refined(fixed, moving, best[0], iterations=12, coarse=False)
        if correlation < _LEAST_CORRELATION:
            # What a search finds for bodies that look unlike is chance: one upside down, or beside the other.
            transform = start
    motion = np.eye(4)
    motion[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    centre, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    motion[:3, 3] = shift + centre - motion[:3, :3] @ centre
    return Alignment(motion, correlation)


def mean_of(reference: CTVolume, others: Sequence[tuple[CTVolume, Alignment]], name: str) -> CTVolume:
    """The mean of the reference and of other volumes laid over it, as a thumbnail: a patient like none of them."""
    small = thumbnail(reference, name)
    grid = _image(small.hounsfield, small.ijk_to_ras)
    total = small.hounsfield.astype(np.float64)
    for ct, found in others:
        total += _on_grid(ct, grid, _as_transform(found.motion))
    return CTVolume((total / (1 + len(others))).astype(np.float32), small.ijk_to_ras, name)


def _refined(
    fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform, iterations: int, coarse: bool
) -> tuple[sitk.Euler3DTransform, float]:
    """A transform and the correlation that it reaches."""
    transform = sitk.Euler3DTransform(start)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsConjugateGradientLineSearch(
        learningRate=1.0,
        numberOfIterations=iterations,
        convergenceMinimumValue=1e-5,
        convergenceWindowSize=4,
        estimateLearningRate=method.EachIteration,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2] if coarse else [1])
    method.SetSmoothingSigmasPerLevel([1.0] if coarse else [0.0])
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return transform, max(-method.GetMetricValue(), 0.0) ** 0.5  # its value is the negative of the square


def _by_mass(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    heavy = [sitk.Cast(one - AIR_HU, sitk.sitkFloat32) for one in (fixed, moving)]  # air weighs nothing
    return sitk.CenteredTransformInitializer(
        *heavy, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )


def _higher(start: sitk.Euler3DTransform, mm: float) -> sitk.Euler3DTransform:
    moved = sitk.Euler3DTransform(start)
    moved.SetTranslation(np.add(start.GetTranslation(), (0.0, 0.0, mm)).tolist())
    return moved


def _clipped(small: CTVolume) -> sitk.Image:
    return _image(np.clip(small.hounsfield, AIR_HU, _BRIGHTEST), small.ijk_to_ras)


def _padded(small: CTVolume) -> sitk.Image:
    """With air around it, so that a place where it shows nothing is no match for a place with a body."""
    voxels = [round(_MARGIN_MM / _THUMBNAIL_MM)] * 3
    return sitk.ConstantPad(_clipped(small), voxels, voxels, AIR_HU)


def _on_grid(ct: CTVolume, grid: sitk.Image, transform: sitk.Transform) -> np.ndarray:
    """``ct`` at the points of ``grid``, moved by ``transform``; smoothed before, so that nothing aliases."""
    image = _image(np.maximum(ct.hounsfield, AIR_HU), ct.ijk_to_ras)
    sigma = [0.4 * max(_THUMBNAIL_MM - s, 0.0) + 1e-3 for s in ct.spacing_mm]
    smooth = sitk.SmoothingRecursiveGaussian(image, sigma)
    return sitk.GetArrayFromImage(sitk.Resample(smooth, grid, transform, sitk.sitkLinear, AIR_HU))


def _image(voxels: np.ndarray, ijk_to_ras: np.ndarray) -> sitk.Image:
    """In RAS throughout: SimpleITK's LPS is only a name where all coordinates are of one kind."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels, dtype=np.float32))
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((ijk_to_ras[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(ijk_to_ras[:3, 3].tolist())
    return image


def _as_transform(motion: np.ndarray) -> sitk.AffineTransform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(motion[:3, :3].ravel().tolist())
    transform.SetTranslation(motion[:3, 3].tolist())
    return transform


class _one_thread:
    """Sums over threads come in any order; with one, an alignment is the same every time."""

    def __enter__(self) -> None:
        self._before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

    def __exit__(self, *_: object) -> None:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(self._before)
