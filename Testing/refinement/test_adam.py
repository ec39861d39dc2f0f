"""The papers' optimisers: parameterisations and gradient against scipy and finite differences, poses of a phantom."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import Cancelled
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.refinement.adam import (
    DenseObjective,
    DiffPoseSettings,
    XvrSettings,
    adam_diffpose,
    adam_xvr,
    xvr_similarity,
)
from DiffPoseRegistrationLib.refinement.dense_ncc import multiscale_ncc
from DiffPoseRegistrationLib.refinement.parameterisation import EulerTranslation, SE3Logarithm
from DiffPoseRegistrationLib.refinement.pyramid import reduced
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray
from scipy.spatial.transform import Rotation

CAMERA = Camera(1020.0, 128, 128, (2.4, 2.4))
ISOCENTRE = np.array([12.0, -30.0, 250.0])


@pytest.fixture(scope="module")
def phantom():
    """A phantom's renderer, an X-ray of it, its pose and a start 15 mm off."""
    ct = phantom_ct(3)
    truth = perturbed(view_pose("AP", ct.centre_ras, 720.0), ct.centre_ras, 10, 15, np.random.default_rng(11))
    picture = simulate_xray(ct, CAMERA, truth, seed=5)
    xray = XRay(-np.log(np.maximum(picture, 1) / 60000.0), CAMERA)
    twist = np.array([*np.deg2rad([2.0, -2.0, 3.0]), 8.0, 5.0, 7.0])
    return Renderer(ct, levels=4), xray, truth, rigid.update_pose(truth, twist, ct.centre_ras)


def _tre(pose, truth):
    return pose_error(pose, truth, phantom_landmarks(3), CAMERA).tre_mm


def _charts(seed=0):
    pose = perturbed(view_pose("LL", ISOCENTRE, 700.0), ISOCENTRE, 15, 30, np.random.default_rng(seed))
    return pose, (SE3Logarithm(pose, ISOCENTRE), EulerTranslation(pose, ISOCENTRE))


@pytest.mark.parametrize("seed", range(3))
def test_parameterisations_start_at_the_initial_pose(seed):
    pose, charts = _charts(seed)
    for chart in charts:
        np.testing.assert_allclose(chart.pose(chart.start), pose, atol=1e-9)


def test_angles_are_intrinsic_zxy_about_the_isocentre():
    """As scipy composes them; the translation is that of a source turned with the C-arm."""
    chart = EulerTranslation(view_pose("AP", ISOCENTRE, 700.0), ISOCENTRE)
    np.testing.assert_allclose(chart.start, [0, 0, 0, 0, 700, 0], atol=1e-9)
    angles = np.array([0.4, -0.3, 0.2])
    pose = chart.pose(np.array([*angles, 5.0, 690.0, -7.0]))
    turn = Rotation.from_euler("ZXY", angles).as_matrix()
    np.testing.assert_allclose(pose[:3, 3], ISOCENTRE + turn @ [5, 690, -7], atol=1e-9)
    np.testing.assert_allclose(pose[:3, :3], turn @ view_pose("AP", ISOCENTRE, 700.0)[:3, :3], atol=1e-12)
    other_order = Rotation.from_euler("XYZ", angles[[1, 2, 0]]).as_matrix()
    assert np.abs(turn - other_order).max() > 0.05
    assert pose[0, 3] < ISOCENTRE[0]  # the primary angle turns the source from the front to the patient's left


def test_a_change_of_parameters_is_the_twist_that_finite_differences_give():
    _, charts = _charts()
    random = np.random.default_rng(2)
    for chart in charts:
        at = chart.start + random.uniform(-1, 1, 6) * [0.9, 0.9, 0.9, 80, 80, 80]
        matrix = chart.twist_per_parameter(at)
        pose, h = chart.pose(at), 1e-6
        for column in range(6):
            step = np.zeros(6)
            step[column] = h
            motion = chart.pose(at + step) @ rigid.inverse(chart.pose(at - step))
            twist = rigid.se3_log(rigid.about_point(motion, -ISOCENTRE)) / (2 * h)
            np.testing.assert_allclose(matrix[:, column], twist, atol=2e-3)  # mm a radian
        assert np.abs(matrix - np.eye(6)).max() > 0.1  # the control: taking it for the twist itself
        assert np.isfinite(pose).all()


@pytest.mark.parametrize("kind", ["diffpose", "xvr"])
def test_gradient_is_that_of_finite_differences(phantom, kind):
    renderer, xray, _, start = phantom
    level = reduced(xray, 48)
    if kind == "diffpose":
        chart, similarity = SE3Logarithm(start, renderer.isocentre), multiscale_ncc(level.image, level.weight, 13)
        at = np.array([0.1, -0.2, 0.05, 20.0, 5.0, -10.0])
    else:
        chart = EulerTranslation(start, renderer.isocentre)
        similarity, at = xvr_similarity(level, XvrSettings()), chart.start
    objective = DenseObjective(renderer, level, similarity, renderer.isocentre)
    _, by_twist = objective(chart.pose(at))
    gradient = chart.twist_per_parameter(at).T @ by_twist
    scale = np.array([100.0] * 3 + [1.0] * 3)
    numeric = np.empty(6)
    for n in range(6):
        step = np.zeros(6)
        step[n] = 0.5 / scale[n]  # long enough for float32 images
        ahead, behind = (objective(chart.pose(at + sign * step))[0] for sign in (1, -1))
        numeric[n] = (ahead - behind) / (2 * step[n])
    error = np.linalg.norm((gradient - numeric) / scale) / np.linalg.norm(numeric / scale)
    assert error < 0.03
    elsewhere = chart.twist_per_parameter(at).T @ objective(chart.pose(at + 5 / scale))[1]
    assert np.linalg.norm((elsewhere - numeric) / scale) / np.linalg.norm(numeric / scale) > 0.15  # the control


def test_diffpose_finds_the_phantom(phantom):
    renderer, xray, truth, start = phantom
    settings = DiffPoseSettings(side=64, iterations=120, translation_rate=3.0, decay_every=10)
    found = adam_diffpose(renderer, xray, start, settings=settings)
    assert _tre(start, truth) > 10 and _tre(found.pose, truth) < 1.5
    assert found.similarity > 0.9 and found.similarity > 1 - found.trajectory[0]["cost"] + 0.03
    assert found.renders == 121 and len(found.trajectory) == 120 and set(found.seconds) == {"64 px"}
    np.testing.assert_allclose(found.trajectory[0]["pose"], start, atol=1e-9)


def test_sparse_patches_find_it_too(phantom):
    renderer, xray, truth, start = phantom
    settings = DiffPoseSettings(side=64, iterations=120, translation_rate=3.0, decay_every=10, patches=12, seed=2)
    found = adam_diffpose(renderer, xray, start, settings=settings)
    assert _tre(found.pose, truth) < 2.5
    again = adam_diffpose(renderer, xray, start, settings=settings)
    np.testing.assert_allclose(found.pose, again.pose, atol=1e-6)


def test_xvr_finds_the_phantom_and_stops_at_plateaus(phantom):
    renderer, xray, truth, start = phantom
    settings = XvrSettings(sides=(32, 64), iterations=150)
    found = adam_xvr(renderer, xray, start, settings=settings)
    assert _tre(found.pose, truth) < 1.5
    assert list(found.seconds) == ["32 px", "64 px"]
    assert found.renders == len(found.trajectory) + 1 < 301


def test_first_step_is_as_long_as_the_learning_rate(phantom):
    """Adam's first step has the length of the rate in each parameter, whatever the gradient."""
    renderer, xray, _, start = phantom
    for optimise, settings, rates in (
        (adam_diffpose, DiffPoseSettings(side=32, iterations=1), (7.5e-3, 7.5)),
        (adam_xvr, XvrSettings(sides=(32,), iterations=1), (1e-2, 1.0)),
    ):
        chart = (SE3Logarithm if optimise is adam_diffpose else EulerTranslation)(start, renderer.isocentre)
        found = optimise(renderer, xray, start, settings=settings)
        # The parameters nearest to the pose found: those of a chart that starts there.
        if optimise is adam_diffpose:
            motion = found.pose @ rigid.inverse(start)
            moved = rigid.se3_log(rigid.about_point(motion, -renderer.isocentre))
        else:
            moved = EulerTranslation(found.pose, renderer.isocentre).start - chart.start
        np.testing.assert_allclose(np.abs(moved), [rates[0]] * 3 + [rates[1]] * 3, rtol=1e-3)


def test_a_callback_ends_it(phantom):
    renderer, xray, _, start = phantom
    seen = []

    def stop(stage, pose, cost):
        seen.append((stage, cost))
        if len(seen) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        adam_xvr(renderer, xray, start, on_step=stop)
    assert [stage for stage, _ in seen] == ["64 px"] * 3
