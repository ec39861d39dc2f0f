"""The mirrored reading: exact on a symmetric body, and told apart on an asymmetric one."""

from dataclasses import replace

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.refinement.mirror import mirror_gap, mirrored_pose
from DiffPoseRegistrationLib.refinement.refine import refine
from DiffPoseRegistrationLib.refinement.schedule import SearchSettings
from DiffPoseRegistrationLib.refinement.views import View
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray

CAMERA = Camera(1020.0, 128, 128, (2.4, 2.4))
NEAR = SearchSettings(rotation_deg=10.0)


@pytest.fixture(scope="module")
def phantom():
    ct = phantom_ct(2)
    return ct, Renderer(ct, levels=4)


def _xray(ct, pose):
    picture = simulate_xray(ct, CAMERA, pose, seed=1)
    return XRay(-np.log(np.maximum(picture, 1) / 60000.0), CAMERA)


def _flipped(xray):
    return replace(xray, attenuation=xray.attenuation[:, ::-1])


@pytest.mark.parametrize("view", ["AP", "LL"])
def test_a_symmetric_body_shows_its_mirror_image_at_the_mirrored_pose(phantom, view):
    ct, _ = phantom
    left = ct.hounsfield[:, :, :80]
    symmetric = CTVolume(np.concatenate([left, left[:, :, ::-1]], axis=2), ct.ijk_to_ras)
    renderer = Renderer(symmetric)
    pose = perturbed(view_pose(view, ct.centre_ras, 720.0), ct.centre_ras, 20.0, 30.0, np.random.default_rng(0))
    image = renderer.render(CAMERA, pose)
    mirrored = renderer.render(CAMERA, mirrored_pose(pose, symmetric.centre_ras))
    np.testing.assert_allclose(mirrored, image[:, ::-1], atol=1e-3 * image.max())
    # The control: from the pose itself it looks otherwise.
    assert np.abs(image - image[:, ::-1]).max() > 0.1 * image.max()


def test_the_mirrored_pose_is_a_proper_one_and_its_own_inverse(phantom):
    ct, _ = phantom
    pose = perturbed(view_pose("RL", ct.centre_ras, 720.0), ct.centre_ras, 20.0, 30.0, np.random.default_rng(1))
    mirrored = mirrored_pose(pose, ct.centre_ras)
    assert np.linalg.det(mirrored[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(mirrored_pose(mirrored, ct.centre_ras), pose, atol=1e-9)


@pytest.mark.parametrize("view", ["AP", "LL"])
def test_a_flipped_xray_is_told_from_one_that_is_not(phantom, view):
    ct, renderer = phantom
    truth = perturbed(view_pose(view, ct.centre_ras, 720.0), ct.centre_ras, 10.0, 15.0, np.random.default_rng(2))
    start = perturbed(truth, ct.centre_ras, 8.0, 15.0, np.random.default_rng(3))
    for xray, low, high in ((_xray(ct, truth), 1.0, np.inf), (_flipped(_xray(ct, truth)), -1.0, -0.7)):
        views = [View.single(xray)]
        found = refine(renderer, views, start, NEAR)
        assert low < mirror_gap(renderer, views, found, NEAR) < high


def test_calibrated_views_are_read_the_other_way_together(phantom):
    ct, renderer = phantom
    poses = [view_pose(view, ct.centre_ras, 720.0) for view in ("AP", "LL")]
    views = View.calibrated([_flipped(_xray(ct, pose)) for pose in poses], poses)
    found = refine(renderer, views, poses[0], NEAR)
    assert mirror_gap(renderer, views, found, NEAR) < -0.7


def test_without_time_nothing_is_said(phantom):
    ct, renderer = phantom
    pose = view_pose("AP", ct.centre_ras, 720.0)
    views = [View.single(_xray(ct, pose))]
    found = refine(renderer, views, pose, SearchSettings(rotation_deg=0.0))
    assert mirror_gap(renderer, views, found, NEAR, seconds=0.0) is None


def test_a_single_bone_has_no_mirror_image_to_try(phantom):
    ct, renderer = phantom
    pose = view_pose("AP", ct.centre_ras, 720.0)
    views = [View.single(_xray(ct, pose))]
    bone = Renderer(replace(ct, hounsfield=np.where(ct.hounsfield > 250, ct.hounsfield, -1000)), levels=4)
    assert bone.is_cut_out
    found = refine(renderer, views, pose, SearchSettings(rotation_deg=0.0))
    renders = bone.renders
    assert mirror_gap(bone, views, found, NEAR) == float("inf") and bone.renders == renders
