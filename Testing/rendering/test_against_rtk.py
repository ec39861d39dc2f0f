"""Against itk-rtk's Joseph projector, where that is installed (pip install itk-rtk)."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import _render_peers as peers
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.rendering.backends import march
from DiffPoseRegistrationLib.rendering.grid import AttenuationGrid
from scenes import affine, camera, pose, smooth_volume

pytest.importorskip("itk", reason="itk-rtk is not installed")


@pytest.mark.parametrize("step_mm", [None, 0.4])
def test_the_same_rays_through_the_same_volume(step_mm):
    size = (34, 40, 37)
    ijk_to_ras = affine(size, spacing=(0.8, 0.9, 1.1), turn=(0.2, -0.1, 0.3))
    values = smooth_volume(size, ijk_to_ras).astype(np.float32)
    # RTK takes no skew of the detector, but pixels of two sizes and any principal point.
    poses = np.stack([pose(), pose(turn=(-0.2, 0.3, 1.2))])
    which = camera(61, 67, pixel_spacing_mm=(0.6, 0.7), principal_point_px=(28.0, 35.0))
    expected = np.array(peers.rtk_joseph(peers.Scene(values, ijk_to_ras, which, poses, 0.8))())
    grid = AttenuationGrid.from_attenuation(values, ijk_to_ras)
    image, _ = march("cpu", grid, which, poses, step_mm)
    for mine, theirs in zip(image, expected):
        assert theirs.max() > 0.1
        assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.9999
        assert np.abs(mine - theirs).max() < 0.01 * theirs.max()
    moved = rigid.update_pose(poses, np.array([np.deg2rad(5), 0, 0, 0, 2.0, 0]), np.zeros(3))
    assert np.abs(march("cpu", grid, which, moved, step_mm)[0] - expected).max() > 0.05 * expected.max()
