"""The refinement as a whole, on a phantom with a hidden pose and on X-rays of another program."""

import json
from dataclasses import replace

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import Cancelled, InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import perturbed, view_pose
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.imaging.xray_reader import read_xray
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.refinement import deadline
from DiffPoseRegistrationLib.refinement.levenberg_marquardt import minimise
from DiffPoseRegistrationLib.refinement.pyramid import reduced
from DiffPoseRegistrationLib.refinement.refine import refine
from DiffPoseRegistrationLib.refinement.schedule import SearchSettings
from DiffPoseRegistrationLib.refinement.similarity import WindowedNCC
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray

CAMERA = Camera(1020.0, 256, 256, (1.2, 1.2))


@pytest.fixture(scope="module")
def phantom():
    """A phantom, its renderer, an X-ray of it with noise and another attenuation rule, and the hidden pose."""
    ct = phantom_ct(3)
    renderer = Renderer(ct, levels=4)
    centre = view_pose("AP", ct.centre_ras, 720.0)
    truth = perturbed(centre, ct.centre_ras, 10.0, 15.0, np.random.default_rng(11))
    picture = simulate_xray(ct, CAMERA, truth, seed=5)
    xray = XRay(-np.log(np.maximum(picture, 1) / 60000.0), CAMERA)
    return ct, renderer, xray, truth


def _off(pose, isocentre, degrees=15.0, millimetres=30.0, seed=0):
    """``pose`` turned by ``degrees`` about an axis and its isocentre moved by ``millimetres`` across the beam."""
    axis, shift = np.random.default_rng(seed).normal(size=(2, 3))
    shift -= (shift @ pose[:3, 2]) * pose[:3, 2]
    axis, shift = axis / np.linalg.norm(axis), shift / np.linalg.norm(shift)
    return rigid.update_pose(pose, np.array([*np.deg2rad(degrees) * axis, *millimetres * shift]), isocentre)


def _tre(pose, truth, camera=CAMERA):
    return pose_error(pose, truth, phantom_landmarks(3), camera).tre_mm


@pytest.mark.parametrize("seed", [0, 1])
def test_phantom_is_found_from_15_degrees_and_30_mm(phantom, seed):
    ct, renderer, xray, truth = phantom
    start = _off(truth, ct.centre_ras, seed=seed)
    assert _tre(start, truth) > 25
    found = refine(renderer, xray, start)
    assert _tre(found.pose, truth) < 0.5
    assert found.similarity > 0.9 and found.agreement > 0.1 and found.renders > 50
    assert set(found.seconds) == {"12 px", "24 px", "64 px", "128 px", "256 px"}
    np.testing.assert_array_equal(found.initial_pose, start)
    costs = [step["cost"] for step in found.trajectory if step["stage"] == "12 px"]
    assert (np.diff(costs) <= 0).all()
    assert np.linalg.eigvalsh(found.covariance).min() > 0


def test_camera_altered_by_5_degrees_is_found_out(phantom):
    """The misposed control: looking 5 degrees beside the truth, in another direction than any pose can make good."""
    ct, renderer, xray, truth = phantom
    # A turn of the detector's plane by 5 degrees moves the principal point by f tan 5 deg = 89 mm = 74 pixels.
    wrong = replace(CAMERA, principal_point_px=(127.5 + 1020 * np.tan(np.deg2rad(5)) / 1.2, 127.5))
    found = refine(renderer, XRay(xray.attenuation, wrong), _off(truth, ct.centre_ras))
    assert _tre(found.pose, truth) > 2


def test_truth_altered_by_5_degrees_is_not_what_is_found(phantom):
    ct, renderer, xray, truth = phantom
    found = refine(renderer, xray, truth)
    altered = rigid.update_pose(truth, np.array([0, 0, np.deg2rad(5), 0, 0, 0]), ct.centre_ras)
    assert _tre(found.pose, truth) < 0.5 and _tre(found.pose, altered) > 2


def test_mirrored_xray_is_never_taken_for_the_patient(phantom):
    ct, renderer, xray, truth = phantom
    mirrored = refine(renderer, XRay(xray.attenuation[:, ::-1], CAMERA), truth)
    assert mirrored.similarity < 0.8  # the limit of accepting
    seen_from_detector = XRay(xray.attenuation[:, ::-1], replace(CAMERA, viewed_from="detector"))
    found = refine(renderer, seen_from_detector, _off(truth, ct.centre_ras, 10, 20))
    assert _tre(found.pose, truth) < 0.5 and np.linalg.det(found.pose[:3, :3]) == pytest.approx(1)


def test_half_of_the_xray_covered(phantom):
    """A mask over what is not the patient; without it the same X-ray is not worth a pose."""
    ct, renderer, xray, truth = phantom
    image, mask = xray.attenuation.copy(), np.ones(xray.attenuation.shape, bool)
    mask[:, :60] = mask[200:] = False
    image[~mask] = 20.0
    start = _off(truth, ct.centre_ras, 8, 15)
    assert _tre(refine(renderer, XRay(image, CAMERA, mask), start).pose, truth) < 2.0
    assert _tre(refine(renderer, XRay(image, CAMERA), start).pose, truth) > 5.0


def test_isocentre_elsewhere_leads_to_the_same_pose(phantom):
    ct, renderer, xray, truth = phantom
    elsewhere = ct.centre_ras + np.array([30.0, -20.0, 40.0])
    found = refine(renderer, xray, _off(truth, ct.centre_ras, 8, 15), isocentre=elsewhere)
    assert _tre(found.pose, truth) < 0.5


def test_objective_slope_is_its_gradient_on_the_renderer(phantom):
    """NCC, filters, windows and the renderer's Jacobian together: finite differences over the pose."""
    ct, renderer, xray, truth = phantom
    level = reduced(xray, 64)
    pose = _off(truth, ct.centre_ras, 3.0, 5.0)
    scale = np.array([1e-3] * 3 + [0.1] * 3)
    for image_filter, sides, robust in (("none", (0, 16), 0.3), ("gradient", (0,), None), ("laplacian", (0,), None)):
        objective = WindowedNCC(
            level.image, level.weight, sides, tuple(1 / len(sides) for _ in sides), robust, image_filter, 1.5
        )

        def evaluate(p, objective=objective):
            return objective(*renderer.render_with_jacobian(level.camera, p, ct.centre_ras, 1))

        _, gradient, _ = evaluate(pose[None])
        ahead, behind = (evaluate(rigid.update_pose(pose, sign * np.diag(scale), ct.centre_ras))[0] for sign in (1, -1))
        slope = (ahead - behind) / 2
        np.testing.assert_allclose(gradient[0] * scale, slope, atol=0.02 * np.abs(slope).max())
        # Control: about the world's origin the rotations have another slope.
        wrong = (
            evaluate(rigid.update_pose(pose, np.diag(scale), np.zeros(3)))[0]
            - evaluate(rigid.update_pose(pose, -np.diag(scale), np.zeros(3)))[0]
        ) / 2
        assert np.abs(gradient[0] * scale - wrong).max() > 0.1 * np.abs(slope).max()


def test_progress_is_told_and_stopping_is_obeyed(phantom):
    _, renderer, xray, truth = phantom
    steps = []

    def on_step(name, pose, cost):
        steps.append((name, cost))
        assert pose.shape == (4, 4)
        if len(steps) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        refine(renderer, xray, truth, on_step=on_step)
    assert len(steps) == 3 and steps[0][0] == "12 px" and steps[1][1] <= steps[0][1]


def test_pose_that_misses_the_image_is_refused(phantom):
    ct, renderer, xray, truth = phantom
    away = rigid.update_pose(truth, np.array([0, 0, 0, 3000.0, 0, 0]), ct.centre_ras)
    with pytest.raises(InputError, match="does not project into the image"):
        refine(renderer, xray, away, SearchSettings(rotation_deg=1.0))


def test_one_case_of_another_program(shared):
    """Levenberg-Marquardt by itself, then the whole schedule, on an X-ray that plastimatch rendered."""
    folder = shared / "cases" / "skull_phantom-01"
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    camera, pose = Camera.from_json(truth["camera"]), np.array(truth["camera_to_world_ras_mm"])
    ct = read_ct(shared / "data" / "ct" / truth["ct"])
    xray = read_xray(folder / "xray.dcm", camera=camera)
    renderer, landmarks = Renderer(ct, levels=4), np.array(truth["landmarks_ras_mm"])
    level = reduced(xray, 64)
    objective = WindowedNCC(level.image, level.weight)
    start = _off(pose, ct.centre_ras, 4.0, 8.0)
    minimum = minimise(
        lambda p: objective(*renderer.render_with_jacobian(level.camera, p, ct.centre_ras, 1)),
        start[None],
        ct.centre_ras,
    )
    assert pose_error(start, pose, landmarks, camera).tre_mm > 7
    assert pose_error(minimum.poses[0], pose, landmarks, camera).tre_mm < 2
    found = refine(renderer, xray, _off(pose, ct.centre_ras))
    assert pose_error(found.pose, pose, landmarks, camera).tre_mm < 1
    # The control: a geometry file altered by 5 degrees.
    shift = camera.source_to_detector_mm * np.tan(np.deg2rad(5)) / camera.pixel_spacing_mm[1]
    c0, r0 = camera.principal_point_px
    wrong = replace(camera, principal_point_px=(c0 + shift, r0))
    altered = refine(renderer, XRay(xray.attenuation, wrong, xray.mask), _off(pose, ct.centre_ras))
    assert pose_error(altered.pose, pose, landmarks, camera).tre_mm > 2


def test_when_the_time_is_up_the_best_pose_so_far_is_taken_and_judged(phantom):
    """The clock is put forward inside the third scale: nothing here depends on how fast the machine is."""
    ct, renderer, xray, truth = phantom
    start = _off(truth, ct.centre_ras)
    stages = []

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()

    def on_step(name, pose, cost):
        stages.append(name)
        if name == "64 px":
            clock.now = 100.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline, "time", clock)
        found = refine(renderer, xray, start, on_step=on_step, seconds=60.0)
    whole = refine(renderer, xray, start)
    assert not found.finished and whole.finished
    assert stages.count("64 px") == 1 and "128 px" not in stages
    assert _tre(found.pose, truth) < 0.2 * _tre(start, truth)
    assert 0.5 < found.similarity < whole.similarity and found.renders < whole.renders
    np.testing.assert_allclose(found.pose, found.trajectory[-1]["pose"], atol=1e-12)


def test_without_any_time_the_start_itself_is_judged(phantom):
    ct, renderer, xray, truth = phantom
    start = _off(truth, ct.centre_ras)
    found = refine(renderer, xray, start, seconds=0.0)
    np.testing.assert_allclose(found.pose, start, atol=1e-12)
    assert not found.finished and found.similarity < 0.8
