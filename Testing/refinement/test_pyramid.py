"""The X-ray at other scales: its pixels, its mask and its camera stay together."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.refinement.filters import filtered
from DiffPoseRegistrationLib.refinement.pyramid import cropped_to_projection, reduced
from DiffPoseRegistrationLib.rendering.renderer import Renderer

CAMERA = Camera(1000.0, 240, 320, (1.0, 1.0), (150.0, 130.0))


def _xray(mask=None):
    column, row = np.meshgrid(np.arange(320), np.arange(240))
    return XRay((0.01 * column + 0.02 * row).astype(np.float32), CAMERA, mask)


@pytest.mark.parametrize("side", [20, 64, 100, 320, 999])
def test_a_reduced_ramp_has_the_value_of_the_place_that_its_camera_looks_at(side):
    level = reduced(_xray(), side)
    assert max(level.image.shape) == min(side, 320) and level.image.shape == (level.camera.rows, level.camera.columns)
    c, r = np.meshgrid(np.arange(level.camera.columns), np.arange(level.camera.rows))
    there = CAMERA.project(level.camera.pixels_to_camera(np.stack([c, r], axis=-1).astype(float)))
    inside = slice(1, -1)
    expected = (0.01 * there[..., 0] + 0.02 * there[..., 1])[inside, inside]
    # Where the factor is no whole number, a mean over whole pixels is off by less than one of them.
    tolerance = 1e-4 if 320 % min(side, 320) == 0 and 240 % level.camera.rows == 0 else 0.02
    np.testing.assert_allclose(level.image[inside, inside], expected, atol=tolerance)
    assert (level.weight == 1).all()


def test_masked_pixels_do_not_count():
    mask = np.ones((240, 320), bool)
    mask[:, :50] = False
    spoiled = _xray(mask).attenuation.copy()
    spoiled[:, :50] = 1e6
    level = reduced(XRay(spoiled, CAMERA, mask), 80)
    assert level.image.max() < 10
    np.testing.assert_allclose(level.weight[:, :12], 0)
    np.testing.assert_allclose(level.weight[:, 12], 0.5)  # 4 columns a pixel: two of these are masked
    np.testing.assert_allclose(level.weight[:, 13:], 1)
    # Nor do they make an edge for the filters: the ramp's own slope is all there is.
    across, _ = filtered(level.image[None, :, :, None], "gradient", 1.0)
    assert np.abs(across).max() < 0.05
    bare = np.where(level.weight > 0, level.image, 0)
    assert np.abs(filtered(bare[None, :, :, None], "gradient", 1.0)[0]).max() > 0.2


@pytest.fixture(scope="module")
def small_bone():
    values = np.full((40, 40, 40), -1000.0, np.float32)
    values[10:30, 12:20, 15:25] = 800.0
    affine = np.eye(4)
    affine[:3, 3] = 5, 6, 7
    ct = CTVolume(values, affine)
    return ct, Renderer(ct, levels=1)


def test_crop_keeps_the_bone_from_every_pose_and_sees_it_at_the_same_rays(small_bone):
    ct, renderer = small_bone
    pose = view_pose("AP", ct.centre_ras, 700.0)
    other = rigid.update_pose(pose, np.array([0, 0, 0, 15.0, 0, 0]), ct.centre_ras)
    poses = np.stack([pose, other])
    part = cropped_to_projection(_xray(), renderer.grids[0], poses, 5.0)
    assert part.camera.rows * part.camera.columns < 0.3 * 240 * 320
    for p in poses:
        whole, inside = renderer.render(CAMERA, p), renderer.render(part.camera, p)
        assert inside.sum() == pytest.approx(whole.sum(), rel=1e-4)  # nothing of it was cut off
        edges = np.concatenate([inside[:3].ravel(), inside[-3:].ravel(), inside[:, :3].ravel(), inside[:, -3:].ravel()])
        assert edges.max() == 0  # and the margin is there
    # The X-ray's own pixels moved along with the camera.
    left, top = (np.array(CAMERA.principal_point_px) - part.camera.principal_point_px).astype(int)
    np.testing.assert_array_equal(
        part.attenuation, _xray().attenuation[top : top + part.camera.rows, left : left + part.camera.columns]
    )
    assert cropped_to_projection(_xray(), renderer.grids[0], poses, 40.0).camera.rows > part.camera.rows


def test_nothing_is_cut_where_it_would_not_help(small_bone):
    ct, renderer = small_bone
    xray = _xray()
    grid = renderer.grids[0]
    assert cropped_to_projection(xray, grid, view_pose("AP", ct.centre_ras, 700.0)[None], 300.0) is xray
    inside_the_bone = view_pose("AP", ct.centre_ras, 1.0)[None]
    assert cropped_to_projection(xray, grid, inside_the_bone, 5.0) is xray
    beside = rigid.update_pose(view_pose("AP", ct.centre_ras, 700.0), np.array([0, 0, 0, 900.0, 0, 0]), ct.centre_ras)
    assert cropped_to_projection(xray, grid, beside[None], 5.0) is xray
