"""Sixteen rays at a time against one ray at a time, and what other processors get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.rendering import backends
from DiffPoseRegistrationLib.rendering.march_cpu import march_images
from DiffPoseRegistrationLib.rendering.ray_lanes import GATHERS
from DiffPoseRegistrationLib.rendering.rays import RayBundle, ray_bundle
from DiffPoseRegistrationLib.rendering.single_ray import JOSEPH, ray
from scenes import affine, camera, pose

LIBRARY_FOLDER = Path(__file__).resolve().parents[2] / "DiffPoseRegistration"
CENTRE = np.array([1.0, -2.0, 3.0])


def _grid():
    random = np.random.default_rng(3)
    values = random.uniform(0, 0.03, (23, 31, 27)) * (random.uniform(size=(23, 31, 27)) > 0.3)
    return backends.AttenuationGrid.from_attenuation(values, affine((27, 31, 23), spacing=(0.9, 0.8, 1.1)))


def _one_by_one(grid, rays: RayBundle, shape) -> tuple[np.ndarray, np.ndarray]:
    image, jacobian = np.empty(shape, np.float32), np.empty((*shape, 6), np.float32)
    for m, r, c in np.ndindex(*shape):
        image[m, r, c] = ray(grid.for_kernels, tuple(rays), m, c, r, JOSEPH, 1.0, CENTRE, jacobian[m, r, c])
    return image, jacobian


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    # Not the very worst entries: a sample that rounding puts across a voxel's face has another gradient.
    return bool(np.quantile(np.abs(a - b), 0.99) < 1e-5 * np.abs(b).max())


@pytest.mark.skipif(not GATHERS, reason="this processor has no gathers, so rays go one by one anyway")
@pytest.mark.parametrize("roll", [0.0, np.pi / 2, 0.7])
@pytest.mark.parametrize("turn", [(0.31, -0.47, 0.23), (0.8, 0.0, 0.0), (0.0, 0.0, 0.0), (1.5, 0.2, 0.9)])
def test_lanes_equal_single_rays(turn, roll):
    """Image and Jacobian, whole images and scattered pixels; bundles that end at the image's edge, mixed axes."""
    grid, which = _grid(), camera()
    at = pose(turn=turn)
    at[:3, :3] = at[:3, :3] @ rigid.so3_exp(np.array([0, 0, roll]))
    poses = np.stack([at, rigid.update_pose(at, np.array([0.1, 0.1, 0.1, 3, 3, 3.0]), np.zeros(3))])
    rays = ray_bundle(which, poses, grid.ras_to_grid)
    shape = (2, which.rows, which.columns)
    image, jacobian = _one_by_one(grid, rays, shape)
    assert image.max() > 0.1
    for centre in (None, CENTRE):
        mine, derivatives = march_images(grid.for_kernels, rays, shape[1:], JOSEPH, 1.0, centre)
        assert _close(mine, image)
        assert derivatives is None if centre is None else _close(derivatives, jacobian)
    random = np.random.default_rng(0)
    chosen = np.stack([random.integers(0, n, 37) for n in (which.columns, which.rows)], axis=1)
    mine, derivatives = march_images(grid.for_kernels, rays, shape[1:], JOSEPH, 1.0, CENTRE, chosen.astype(float))
    assert _close(mine, image[:, chosen[:, 1], chosen[:, 0]])
    assert _close(derivatives, jacobian[:, chosen[:, 1], chosen[:, 0]])
    assert not _close(mine, image[::-1, chosen[:, 1], chosen[:, 0]])  # the other pose


_ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
import llvmlite.binding as llvm
features = {"avx2": sys.argv[2] == "avx2", "avx512f": False}
llvm.get_host_cpu_features = lambda: features
import numpy as np
from DiffPoseRegistrationLib.rendering import backends, ray_lanes
assert (ray_lanes.GATHERS, ray_lanes.LANES) == (features["avx2"], 8)
grid, camera, poses = backends.small_scene()
np.savez(sys.argv[3], *backends.march("cpu", grid, camera, poses, None, np.zeros(3)))
"""


@pytest.mark.parametrize("processor", ["avx2", "none"])
def test_narrower_vectors_and_none(tmp_path, processor):
    """Eight lanes, as on most laptops, and no gathers, as on ARM, compiled here for a plainer processor."""
    here = backends.march("cpu", *backends.small_scene(), None, np.zeros(3))
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
    }
    if processor == "avx2" and GATHERS:
        environment.update(NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx,+avx2,+fma")
    command = [sys.executable, "-c", _ELSEWHERE, str(LIBRARY_FOLDER), processor, str(tmp_path / "images.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "images.npz") as there:
        for mine, other in zip(here, there.values()):
            assert _close(mine, other)
