"""Scales of an X-ray, what is kept of a stage's images, and what a search does not look at."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import displaced, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.refinement.pyramid import reduced
from DiffPoseRegistrationLib.refinement.refine import refine
from DiffPoseRegistrationLib.refinement.schedule import WHOLE_BODY
from DiffPoseRegistrationLib.refinement.views import StageObjective, View, weights_without_glare
from DiffPoseRegistrationLib.rendering.renderer import Renderer

CAMERA = Camera(1020.0, 256, 256, (1.2, 1.2))


@pytest.fixture(scope="module")
def phantom():
    ct = phantom_ct(3)
    renderer = Renderer(ct, levels=4)
    pose = view_pose("AP", ct.centre_ras, 720.0)
    return ct, renderer, XRay(renderer.render(CAMERA, pose), CAMERA), pose


def test_small_scales_are_those_of_the_whole_image():
    random = np.random.default_rng(0)
    camera = Camera(1000.0, 512, 512, (0.5, 0.5))
    mask = random.uniform(size=(512, 512)) > 0.2
    xray = XRay(random.normal(size=(512, 512)).astype(np.float32), camera, mask)
    view = View.single(xray)
    for side, tolerance in ((64, 2e-5), (24, 0.05)):  # 256 pixels to 24 are no whole number for each
        direct, chained = reduced(xray, side), view.level(side)
        np.testing.assert_allclose(chained.image, direct.image, atol=tolerance)
        np.testing.assert_allclose(chained.weight, direct.weight, atol=tolerance)
        point = np.array([10.0, -20.0, 900.0])
        np.testing.assert_allclose(chained.camera.project(point), direct.camera.project(point))
    assert view.level(64) is view.level(64)


def test_a_stage_keeps_its_last_images(phantom):
    ct, renderer, xray, pose = phantom
    objective = StageObjective(renderer, [View.single(xray)], WHOLE_BODY.search[0], ct.centre_ras, 720.0)
    before = renderer.renders
    first, again = objective.render(0, pose[None]), objective.render(0, pose[None].copy())
    assert renderer.renders == before + 1 and again is first
    moved = displaced(pose, ct.centre_ras, np.zeros(3), np.array([5.0, 0.0, 0.0]))
    assert np.abs(objective.render(0, moved[None])[0] - first[0]).max() > 0.01
    other = objective.with_views([View.single(xray).with_camera(Camera(980.0, 256, 256, (1.2, 1.2)))])
    assert np.abs(other.render(0, moved[None])[0] - objective.render(0, moved[None])[0]).max() > 0.01


def test_what_is_clipped_white_does_not_count_and_the_rest_does(phantom):
    _, _, xray, _ = phantom
    assert (weights_without_glare(XRay(xray.attenuation + 1.0 + _ramp(), CAMERA)) == 1).all()
    weights = weights_without_glare(XRay(_with_glare(xray.attenuation), CAMERA))
    assert (weights[:90, :90] < 0.1).all() and (weights[:, 110:] == 1).all() and (weights[110:] == 1).all()


def test_glare_in_a_corner_does_not_lead_astray(phantom):
    ct, renderer, xray, truth = phantom
    start = displaced(truth, ct.centre_ras, np.deg2rad([8.0, -12.0, 6.0]), np.array([25.0, -20.0, 30.0]))
    found = refine(renderer, XRay(_with_glare(xray.attenuation), CAMERA), start)
    assert pose_error(found.pose, truth, phantom_landmarks(3), CAMERA).tre_mm < 1.0


def _ramp():
    """No two pixels alike, so that nothing is clipped."""
    return np.linspace(0, 1e-3, CAMERA.rows * CAMERA.columns, dtype=np.float32).reshape(CAMERA.rows, CAMERA.columns)


def _with_glare(attenuation):
    """A corner of 100 x 100 pixels that is brighter than air."""
    glaring = attenuation + 1.0 + _ramp()
    glaring[:100, :100] = 0.0
    return glaring
