"""The camera as a nuisance: exact derivatives, and a wrong geometry that is made good within its tolerance."""

from dataclasses import replace

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.refinement.intrinsics import PARAMETERS, by_intrinsics
from DiffPoseRegistrationLib.refinement.methods import refine_by
from DiffPoseRegistrationLib.refinement.refine import refine
from DiffPoseRegistrationLib.refinement.schedule import IntrinsicsTolerance, SearchSettings
from DiffPoseRegistrationLib.refinement.views import View
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.doubt import doubts_about_cameras
from DiffPoseRegistrationLib.workflow.register import Search, register
from DiffPoseRegistrationLib.workflow.result_file import result_as_json
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray

CAMERA = Camera(1020.0, 256, 256, (1.2, 1.2))
WRONG = replace(CAMERA, source_to_detector_mm=1020 * 1.02, principal_point_px=(127.5 + 5, 127.5 - 5))
TRUE_OFFSETS = np.array([-5.0, 5.0, -20.4])
TOLERANCE = IntrinsicsTolerance(30.0, 8.0)


@pytest.fixture(scope="module")
def phantom():
    ct = phantom_ct(3)
    truth = perturbed(view_pose("AP", ct.centre_ras, 720.0), ct.centre_ras, 10, 15, np.random.default_rng(11))
    picture = simulate_xray(ct, CAMERA, truth, seed=5)
    start = perturbed(truth, ct.centre_ras, 4, 10, np.random.default_rng(2))
    return ct, Renderer(ct, levels=4), -np.log(np.maximum(picture, 1) / 60000.0), truth, start


def _error(pose, truth):
    return pose_error(pose, truth, phantom_landmarks(3), CAMERA)


@pytest.mark.parametrize("viewed_from", ["source", "detector"])
def test_derivatives_are_those_of_finite_differences(phantom, viewed_from):
    """On images of other cameras: what is derived from the pose's Jacobian is what a changed camera shows."""
    ct, _, _, truth, _ = phantom
    renderer = Renderer(ct, levels=3)
    camera = Camera(1020.0, 48, 40, (6.0, 7.0), (22.0, 20.0), viewed_from)
    isocentre = ct.centre_ras + np.array([10.0, 20.0, -30.0])
    _, jacobian = renderer.render_with_jacobian(camera, truth[None], isocentre, 2)
    found = by_intrinsics(camera, truth, jacobian[0], isocentre)
    column, row = camera.principal_point_px
    steps = {0: 0.05, 1: 0.05, 2: 2.0}

    def image(parameter, by):
        changed = {
            0: {"principal_point_px": (column + by, row)},
            1: {"principal_point_px": (column, row + by)},
            2: {"source_to_detector_mm": camera.source_to_detector_mm + by},
        }[parameter]
        return renderer.render(replace(camera, **changed), truth, 2).astype(np.float64)

    for parameter, step in steps.items():
        expected = (image(parameter, step) - image(parameter, -step)) / (2 * step)
        # Trilinear fields have kinks, which differences smear over their step.
        error = np.abs(found[..., parameter] - expected)
        assert np.quantile(error, 0.95) < 0.03 * np.abs(expected).max()
        assert np.corrcoef(found[..., parameter].ravel(), expected.ravel())[0, 1] > 0.99
        # Controls: another parameter's derivative, or one about another point, is none of this.
        assert np.abs(np.corrcoef(found[..., (parameter + 1) % 3].ravel(), expected.ravel())[0, 1]) < 0.9
        elsewhere = by_intrinsics(camera, truth, jacobian[0], isocentre + np.array([300.0, 300.0, 300.0]))
        assert np.abs(elsewhere[..., parameter] - found[..., parameter]).max() > 0.1 * np.abs(expected).max()


def test_a_wrong_camera_is_made_good(phantom):
    _, renderer, image, truth, start = phantom
    xray = XRay(image, WRONG)
    as_given = refine(renderer, xray, start)
    found = refine(renderer, xray, start, SearchSettings(intrinsics=TOLERANCE))
    assert as_given.intrinsics == () and len(found.intrinsics) == 1
    before, after = _error(as_given.pose, truth), _error(found.pose, truth)
    assert before.tre_mm > 10 and after.tre_mm < 0.4 * before.tre_mm
    offsets, deviations = found.intrinsics[0].offsets, found.intrinsics[0].deviations
    assert abs(offsets[2] - TRUE_OFFSETS[2]) < 0.4 * abs(TRUE_OFFSETS[2])
    assert (np.abs(offsets - TRUE_OFFSETS) < 4 * deviations).all() and (deviations > 0).all()
    # The doubt about the camera is part of the doubt about the pose, and mostly one about depth.
    beam = found.pose[:3, 2]
    assert beam @ found.covariance[3:, 3:] @ beam > 25 * (beam @ as_given.covariance[3:, 3:] @ beam)
    assert found.similarity >= as_given.similarity - 1e-4


def test_only_what_has_a_tolerance_is_touched(phantom):
    _, renderer, image, truth, start = phantom
    right = replace(WRONG, principal_point_px=CAMERA.principal_point_px)
    only_distance = SearchSettings(intrinsics=IntrinsicsTolerance(source_to_detector_mm=30.0))
    found = refine(renderer, XRay(image, right), start, only_distance)
    np.testing.assert_array_equal(found.intrinsics[0].offsets[:2], 0)
    np.testing.assert_array_equal(found.intrinsics[0].deviations[:2], 0)
    assert abs(found.intrinsics[0].offsets[2] + 20.4) < 8
    assert (
        _error(found.pose, truth).tre_mm < 0.5 * _error(refine(renderer, XRay(image, right), start).pose, truth).tre_mm
    )


def test_the_tolerance_is_not_left_and_its_edge_is_told(phantom):
    """The control: with a tolerance that does not hold the truth, the truth is not found."""
    _, renderer, image, truth, start = phantom
    tight = IntrinsicsTolerance(4.0, 0.5)
    found = refine(renderer, XRay(image, WRONG), start, SearchSettings(intrinsics=tight))
    offsets = found.intrinsics[0].offsets
    assert (np.abs(offsets) <= [0.5, 0.5, 4.0]).all()
    assert _error(found.pose, truth).tre_mm > 8
    told = doubts_about_cameras([np.array([0.1, -0.5, 1.0])], tight)
    assert len(told) == 1 and "principal point ended at the edge" in told[0]
    assert doubts_about_cameras([np.array([0.1, -0.2, 1.0])], tight) == []
    assert doubts_about_cameras([np.zeros(3)], IntrinsicsTolerance()) == []


def test_calibrated_views_have_each_their_own_camera(phantom):
    ct, renderer, image, truth, start = phantom
    side = perturbed(view_pose("LL", ct.centre_ras, 720.0), ct.centre_ras, 5, 5, np.random.default_rng(4))
    other = -np.log(np.maximum(simulate_xray(ct, CAMERA, side, seed=6), 1) / 60000.0)
    views = View.calibrated([XRay(image, CAMERA), XRay(other, WRONG)], [truth, side])
    found = refine(renderer, views, start, SearchSettings(intrinsics=TOLERANCE))
    right, wrong = (one.offsets for one in found.intrinsics)
    assert np.linalg.norm(wrong - TRUE_OFFSETS) < 0.5 * np.linalg.norm(TRUE_OFFSETS)
    assert abs(right[2]) < 0.5 * abs(wrong[2])
    assert _error(found.pose, truth).tre_mm < 2.5  # with the wrong camera as it was given: 4.3


def test_the_result_tells_the_camera_that_was_found(phantom):
    ct, renderer, image, _, start = phantom
    xray = XRay(image, WRONG)
    result = register(ct, xray, initial=start, renderer=renderer, search=Search(intrinsics=TOLERANCE))
    data = result_as_json(result, ct, inputs={})
    assert data["given_camera"] == WRONG.to_json()
    changes = [data["refined_intrinsics"][name]["change"] for name in PARAMETERS]
    assert data["camera"]["source_to_detector_mm"] == pytest.approx(WRONG.source_to_detector_mm + changes[2])
    assert data["camera"]["principal_point_px"] == pytest.approx([132.5 + changes[0], 122.5 + changes[1]])
    shown = result.views[0]
    # The overlay is simulated with that camera: at the pose found it fits the X-ray better than with the one given.
    given = renderer.render(WRONG.resampled(256, 256), shown.camera_to_world)
    fits = [np.corrcoef(drr.ravel(), image.ravel())[0, 1] for drr in (shown.drr_after, given)]
    assert fits[0] > fits[1]
    plain = register(ct, xray, initial=start, renderer=renderer, pictures=False)
    assert "refined_intrinsics" not in result_as_json(plain, ct, inputs={})


def test_what_cannot_be_refined_is_refused(phantom):
    _, renderer, image, _, start = phantom
    with pytest.raises(InputError, match="adam-xvr leaves the camera as it is"):
        refine_by("adam-xvr", renderer, XRay(image, CAMERA), start, SearchSettings(intrinsics=TOLERANCE))
    with pytest.raises(InputError, match="tolerance"):
        IntrinsicsTolerance(float("nan"))
    assert not IntrinsicsTolerance() and TOLERANCE
