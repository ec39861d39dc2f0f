"""The derivative-free search, and every method by name, on a phantom with a hidden pose."""

import sys

import numpy as np
import pytest
from DiffPoseRegistrationLib.commandline.main import build_parser
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.refinement import adam
from DiffPoseRegistrationLib.refinement.global_search import (
    GlobalSettings,
    global_search,
    poses_in_box,
    weighted_ncc,
)
from DiffPoseRegistrationLib.refinement.methods import METHODS, judged, refine_by
from DiffPoseRegistrationLib.refinement.refine import refine
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.register import Search, register
from DiffPoseRegistrationLib.workflow.result_file import result_as_json
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray
from scipy.spatial.transform import Rotation

CAMERA = Camera(1020.0, 128, 128, (2.4, 2.4))


@pytest.fixture(scope="module")
def phantom():
    ct = phantom_ct(3)
    truth = perturbed(view_pose("AP", ct.centre_ras, 720.0), ct.centre_ras, 10, 15, np.random.default_rng(11))
    picture = simulate_xray(ct, CAMERA, truth, seed=5)
    return ct, Renderer(ct, levels=4), XRay(-np.log(np.maximum(picture, 1) / 60000.0), CAMERA), truth


def _tre(pose, truth):
    return pose_error(pose, truth, phantom_landmarks(3), CAMERA).tre_mm


def test_box_is_spanned_in_camera_axes():
    isocentre = np.array([5.0, -8.0, 100.0])
    pose = perturbed(view_pose("LL", isocentre, 700.0), isocentre, 10, 0, np.random.default_rng(0))
    settings = GlobalSettings(rotation_deg=40.0, translation_mm=100.0)
    turned, moved = poses_in_box(np.array([[1.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0.5]]), pose, isocentre, settings)
    by = Rotation.from_matrix(turned[:3, :3] @ pose[:3, :3].T).as_rotvec(degrees=True)
    np.testing.assert_allclose(by, 40 * pose[:3, 0], atol=1e-9)
    in_camera = [rigid.transform_points(rigid.inverse(p), isocentre[None]) for p in (turned, pose)]
    np.testing.assert_allclose(in_camera[0], in_camera[1], atol=1e-9)
    np.testing.assert_allclose(moved[:3, 3] - pose[:3, 3], 50 * pose[:3, 2], atol=1e-9)


def test_weighted_ncc_is_numpys_correlation():
    random = np.random.default_rng(0)
    x, drrs, weight = random.normal(size=(6, 7)), random.normal(size=(3, 6, 7)), random.uniform(0, 1, (6, 7))
    drrs[2] = 0
    found = weighted_ncc(x, weight, drrs)
    for n in range(2):
        covariance = np.cov(np.stack([x.ravel(), drrs[n].ravel()]), aweights=weight.ravel())
        assert found[n] == pytest.approx(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    assert found[2] == 0


def test_found_from_far(phantom):
    """From 50 degrees and 90 mm off, to where the default refinement can take over."""
    ct, renderer, xray, truth = phantom
    axis = np.array([1.0, 2.0, -1.5])
    twist = np.array([*np.deg2rad(50) * axis / np.linalg.norm(axis), *(truth[:3, :3] @ [70.0, -50.0, 30.0])])
    far = rigid.update_pose(truth, twist, ct.centre_ras)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    settings = GlobalSettings(evaluations=3000, seed=1)
    found = global_search(renderer, xray, far, settings)
    assert _tre(far, truth) > 80 and _tre(found.poses[0], truth) < 15
    assert found.renders <= 3000 and (np.diff(found.cost) >= 0).all()
    costs = [step["cost"] for step in found.trajectory]
    assert (np.diff(costs) <= 0).all() and costs[-1] == found.cost[0]
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002 (nobody else's random numbers change)
    again = global_search(renderer, xray, far, settings)
    np.testing.assert_array_equal(found.poses, again.poses)
    assert _tre(refine(renderer, xray, found.poses).pose, truth) < 1


def test_a_box_that_does_not_hold_the_pose_is_no_find(phantom):
    ct, renderer, xray, truth = phantom
    far = rigid.update_pose(truth, np.array([0, 0, np.deg2rad(50), 0, 0, 0]), ct.centre_ras)
    found = global_search(renderer, xray, far, GlobalSettings(rotation_deg=10, translation_mm=20, evaluations=600))
    assert _tre(found.poses[0], truth) > 20


def test_missing_package_is_said(phantom, monkeypatch):
    _, renderer, xray, truth = phantom
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(InputError, match="cma"):
        global_search(renderer, xray, truth)


@pytest.fixture
def short(monkeypatch):
    """The papers' methods with small images and few steps."""
    for name, settings in (
        ("adam_diffpose", adam.DiffPoseSettings(side=48, iterations=80, translation_rate=3.0, decay_every=8)),
        ("adam_xvr", adam.XvrSettings(sides=(32, 64), iterations=80)),
    ):
        whole = getattr(adam, name)
        monkeypatch.setattr(adam, name, lambda *a, whole=whole, s=settings, **k: whole(*a, settings=s, **k))


@pytest.mark.parametrize("method", METHODS)
def test_register_by_each_method(phantom, short, method):
    ct, renderer, xray, truth = phantom
    start = rigid.update_pose(truth, np.array([*np.deg2rad([2.0, -2.0, 3.0]), 8.0, 5.0, 7.0]), ct.centre_ras)
    result = register(ct, xray, initial=start, method=method, renderer=renderer)
    assert _tre(start, truth) > 10 and _tre(result.camera_to_world, truth) < 2
    assert result.method == method and result.similarity > 0.7 and 0 < result.predicted_error_mm < 10
    np.testing.assert_allclose(result.initial_camera_to_world, start, atol=1e-12)
    assert result.renders > 50 and result.trajectory
    assert result_as_json(result, ct, inputs={})["method"] == method


@pytest.mark.parametrize("method", METHODS)
def test_one_start_is_never_accepted_and_the_time_is_kept(phantom, short, method):
    ct, renderer, xray, truth = phantom
    start = rigid.update_pose(truth, np.array([*np.deg2rad([1.0, -1.0, 1.0]), 2.0, 1.0, 2.0]), ct.centre_ras)
    single = method.startswith("adam")
    result = register(ct, xray, initial=start, method=method, renderer=renderer)
    assert (result.verdict == "accept") is not single
    assert any("one start only" in reason for reason in result.verdict_reasons) is single
    at_once = register(ct, xray, initial=start, method=method, renderer=renderer, search=Search(seconds=0.0))
    np.testing.assert_allclose(at_once.camera_to_world, start, atol=1e-12)
    assert at_once.verdict != "accept" and any("time was up" in reason for reason in at_once.verdict_reasons)


def test_a_pose_is_judged_where_it_is(phantom):
    _, renderer, xray, truth = phantom
    off = rigid.update_pose(truth, np.array([0, 0, 0.05, 5.0, 0, 0]), renderer.isocentre)
    at_truth, beside = judged(renderer, xray, truth), judged(renderer, xray, off)
    np.testing.assert_allclose(at_truth.pose, truth, atol=1e-12)
    np.testing.assert_allclose(beside.pose, off, atol=1e-12)
    assert at_truth.similarity > beside.similarity + 0.1
    assert at_truth.similarity == pytest.approx(refine(renderer, xray, truth).similarity, abs=0.02)


def test_an_unknown_method_is_refused(phantom):
    _, renderer, xray, truth = phantom
    with pytest.raises(InputError, match=r"simplex.*lm, adam-diffpose, adam-xvr, cma"):
        refine_by("simplex", renderer, xray, truth)


def test_the_command_offers_all_methods(capsys):
    parse = ["register", "--ct", "a", "--xray", "b", "--initial", "c"]
    for method in METHODS:
        assert build_parser().parse_args([*parse, "--method", method]).method == method
    assert build_parser().parse_args(parse).method == "lm"
    with pytest.raises(SystemExit):
        build_parser().parse_args([*parse, "--method", "simplex"])
