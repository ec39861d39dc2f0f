"""Rendered images against formulas: sphere, box and ellipsoids, in float64, and a uniform block for Siddon's method.

The volumes are smooth where a formula allows it: a voxel grid cannot hold a jump, and what a jump costs says more of
the voxels than of the marcher.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.attenuation import AttenuationRule
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.rendering.backends import march
from DiffPoseRegistrationLib.rendering.grid import AttenuationGrid
from DiffPoseRegistrationLib.rendering.rays import ray_bundle
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.rendering.siddon import trace_images
from scenes import affine, camera, pose, positions

QUARTER = 0.25


def _rays(which: Camera, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Source [3] and unit directions [rows, columns, 3] from the definition of the camera."""
    row, column = np.mgrid[: which.rows, : which.columns]
    directions = which.pixels_to_camera(np.stack([column, row], axis=-1)) @ at[:3, :3].T
    return at[:3, 3], directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def _bump(source: np.ndarray, directions: np.ndarray, centre: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Integral along rays of ``(1 - q)^2`` where ``q = |matrix (x - centre)|^2`` is below one: with ``q = a t^2 + 2 b t
    + c`` and half chord h, the integrand is ``a^2 (h^2 - s^2)^2``, whose integral over the chord is 16/15 a^2 h^5."""
    o, d = (source - centre) @ matrix.T, directions @ matrix.T
    a, b, c = (d * d).sum(axis=-1), d @ o, o @ o
    half = np.sqrt(np.maximum(b * b - a * (c - 1), 0)) / a
    return 16 / 15 * a**2 * half**5


def _voxels(points: np.ndarray, centre: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    q = (((points - centre) @ matrix.T) ** 2).sum(axis=-1)
    return np.where(q < 1, 1 - q, 0) ** 2


def _error(image: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(image - expected).max() / expected.max())


ELLIPSOIDS = [
    (0.020, np.array([0.0, 0.0, 0.0]), np.diag([1 / 14, 1 / 15, 1 / 14.5])),
    (0.010, np.array([3.0, -2.0, 1.0]), np.diag([1 / 8, 1 / 9, 1 / 7]) @ rigid.so3_exp(np.array([0.4, 0.2, -0.3]))),
    (0.030, np.array([-4.0, 3.0, -2.0]), np.diag([1 / 7, 1 / 8, 1 / 9]) @ rigid.so3_exp(np.array([-0.2, 0.5, 0.1]))),
]


@pytest.mark.parametrize("turn", [(0.31, -0.47, 0.23), (0.0, 0.0, 0.0), (1.5, 0.1, 0.2)])
@pytest.mark.parametrize("bodies", [ELLIPSOIDS[:1], ELLIPSOIDS], ids=["one", "stack"])
@pytest.mark.parametrize("step", [None, QUARTER])
def test_ellipsoids(bodies, turn, step):
    """Soft ellipsoids, voxels of 0.25 mm: below 1e-3 of the largest value, and the misposed control far above."""
    size, spacing = (124, 128, 126), 0.25
    ijk_to_ras = affine(size, spacing=(spacing,) * 3)
    points = positions(size, ijk_to_ras)
    grid = AttenuationGrid.from_attenuation(sum(h * _voxels(points, c, m) for h, c, m in bodies), ijk_to_ras)
    at = pose(turn=turn)
    expected = sum(h * _bump(*_rays(camera(), at), c, m) for h, c, m in bodies)
    image, _ = march("cpu", grid, camera(), at[None], None if step is None else step * spacing)
    assert _error(image[0], expected) < 1e-3
    moved = rigid.update_pose(at, np.array([np.deg2rad(5), 0, 0, 0, 5.0, 0]), np.zeros(3))
    image, _ = march("cpu", grid, camera(), moved[None], None if step is None else step * spacing)
    assert _error(image[0], expected) > 0.02


def test_box_with_linear_flanks():
    """A block whose flanks fall to zero over one voxel is held exactly by the trilinear field. Seen along an axis its
    integral is width times height; across a flank it falls linearly."""
    values = np.zeros((20, 20, 20))
    values[5:15, 4:16, 6:14] = 0.03  # k, j, i: 10, 12, 8 voxels
    grid = AttenuationGrid.from_attenuation(values, np.diag([1.0, 1.0, 1.0, 1.0]))
    far = Camera(9e4, 3, 41, (1.0, 0.25), (20.0, 1.0))
    at = np.eye(4)
    at[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # looks along +y, columns along x, rows along -z
    at[:3, 3] = [9.5, -89900.5, 9.5]
    x = 9.5 + (np.arange(41) - 20) * 0.25 * 0.999  # magnified by 90000 / 89910
    expected = 0.03 * 12 * np.interp(x, [5, 6, 13, 14], [0, 1, 1, 0])
    for step in (None, QUARTER):
        image, _ = march("cpu", grid, far, at[None], step)
        assert np.abs(image[0, 1] - expected).max() < 1e-3 * 0.36


def _slab(source: np.ndarray, directions: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Length of rays within the box from ``low`` to ``high``."""
    with np.errstate(divide="ignore"):
        a, b = (low - source) / directions, (high - source) / directions
    return np.maximum(np.minimum(np.maximum(a, b).min(axis=-1), np.inf) - np.minimum(a, b).max(axis=-1), 0)


@pytest.mark.parametrize("turn", [(0.31, -0.47, 0.23), (0.0, 0.0, 0.0), (math.pi / 4, 0.0, 0.0)])
def test_siddon_is_exact_for_uniform_voxels(turn):
    """Two blocks of whole voxels: the integral is the sum of chord lengths, to float32."""
    values = np.zeros((14, 16, 12))
    values[2:9, 3:12, 4:10] = 0.03
    values[9:12, 5:9, 2:7] = 0.012
    ijk_to_ras = affine((12, 16, 14), spacing=(1.1, 0.8, 1.4))
    grid = AttenuationGrid.from_attenuation(values, ijk_to_ras)
    at = pose(turn=turn, shift=1.37)
    image = trace_images(grid.for_kernels, ray_bundle(camera(), at[None], grid.ras_to_grid), (17, 19))[0]
    source, directions = _rays(camera(), at)
    expected = 0.0
    for value, low, high in ((0.03, (4, 3, 2), (10, 12, 9)), (0.012, (2, 5, 9), (7, 9, 12))):
        corners = [ijk_to_ras[:3, :3] @ (np.array(corner) - 0.5) + ijk_to_ras[:3, 3] for corner in (low, high)]
        expected = expected + value * _slab(source, directions, *corners)
    # 16-bit storage rounds 0.012 by up to half a count of 0.03 / 65535.
    assert _error(image, expected) < 1.5e-5
    moved = rigid.update_pose(at, np.array([np.deg2rad(5), 0, 0, 0, 0, 5.0]), np.zeros(3))
    other = trace_images(grid.for_kernels, ray_bundle(camera(), moved[None], grid.ras_to_grid), (17, 19))[0]
    assert _error(other, expected) > 0.05


def test_renderer_methods_agree():
    """One CT through the entry that everybody calls: the three methods see the same body."""
    size = (60, 64, 62)
    ijk_to_ras = affine(size, spacing=(0.5, 0.5, 0.5))
    density = sum(h * _voxels(positions(size, ijk_to_ras), c, m) for h, c, m in ELLIPSOIDS) / 0.0192
    ct = CTVolume((1000 * density - 1000).astype(np.float32), ijk_to_ras)
    rule = AttenuationRule(water_per_mm=0.0192, bone_per_mm=0.0384, air_hu=-1000)
    expected = sum(h * _bump(*_rays(camera(), pose()), c, m) for h, c, m in ELLIPSOIDS)
    for method, tolerance in (("joseph", 2e-3), ("trilinear", 2e-3), ("siddon", 0.02)):
        image = Renderer(ct, rule, levels=1, method=method, backend="cpu").render(camera(), pose())
        assert _error(image, expected) < tolerance, method
