"""Where a search begins, what becomes of each start, and what a wrong side costs."""

from dataclasses import replace

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import displaced, perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.refinement.descent import distance_mm
from DiffPoseRegistrationLib.refinement.refine import refine
from DiffPoseRegistrationLib.refinement.schedule import WHOLE_BODY, SearchSettings, Stage
from DiffPoseRegistrationLib.refinement.starts import (
    NEGLIGIBLE_WEIGHT,
    SPREAD_AROUND,
    Hypotheses,
    grid_starts,
    mirrored_twins,
    spread_starts,
    starts_of,
)
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray
from scipy.spatial.transform import Rotation

CAMERA = Camera(1020.0, 128, 128, (2.4, 2.4))
ISOCENTRE = np.array([10.0, -20, 300])
OBLIQUE = perturbed(view_pose("LL", ISOCENTRE, 700.0), ISOCENTRE, 10, 10, np.random.default_rng(0))


@pytest.fixture(scope="module")
def phantom():
    ct = phantom_ct(3)
    truth = perturbed(view_pose("AP", ct.centre_ras, 720.0), ct.centre_ras, 10, 15, np.random.default_rng(11))
    picture = simulate_xray(ct, CAMERA, truth, seed=5)
    return ct, Renderer(ct, levels=4), XRay(-np.log(np.maximum(picture, 1) / 60000.0), CAMERA), truth


def _tre(pose, truth):
    return pose_error(pose, truth, phantom_landmarks(3), CAMERA).tre_mm


def _seen(pose, point=ISOCENTRE):
    return rigid.transform_points(rigid.inverse(pose), point[None])[0]


def test_starts_are_spread_by_the_angle_about_the_isocentre():
    starts = spread_starts(OBLIQUE, ISOCENTRE, 20.0)
    assert starts.shape == (15, 4, 4)
    np.testing.assert_allclose(starts[0], OBLIQUE, atol=1e-12)
    turns = Rotation.from_matrix(starts[1:, :3, :3] @ OBLIQUE[:3, :3].T).as_rotvec(degrees=True)
    np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 20.0)
    in_camera = turns @ OBLIQUE[:3, :3] / 20
    assert sorted(np.count_nonzero(np.abs(in_camera) > 1e-6, axis=1)) == [1] * 6 + [3] * 8
    np.testing.assert_allclose(turns.sum(axis=0), 0, atol=1e-9)
    for start in starts:
        np.testing.assert_allclose(_seen(start), _seen(OBLIQUE), atol=1e-9)


def test_grid_holds_its_corners_and_leaves_no_gap():
    starts = grid_starts(OBLIQUE, ISOCENTRE, 30.0, 100.0)
    assert starts.shape == (5**3 * 5 * 5 * 3, 4, 4)
    turns = Rotation.from_matrix(OBLIQUE[:3, :3].T @ starts[:, :3, :3]).as_rotvec(degrees=True)
    assert sorted({*np.round(np.abs(turns[np.count_nonzero(np.abs(turns) > 1e-6, axis=1) == 1]).sum(1), 6)}) == [15, 30]
    assert len(np.unique(np.round(turns, 6), axis=0)) == 125
    for corner in np.array(np.meshgrid([-100, 100], [-100, 100], [-100, 100])).reshape(3, -1).T:
        wanted = displaced(OBLIQUE, ISOCENTRE, np.deg2rad([30.0, 30.0, -30.0]), corner.astype(float))
        assert np.abs(starts - wanted).max(axis=(1, 2)).min() < 1e-9
    assert len(grid_starts(OBLIQUE, ISOCENTRE, 0.0, 0.0)) == 1


def test_hypotheses_are_ordered_and_the_unlikely_dropped():
    poses = spread_starts(OBLIQUE, ISOCENTRE, 40.0)[:6]
    kept = Hypotheses(poses, np.array([1.0, 8.0, 0.0, 0.5 * NEGLIGIBLE_WEIGHT, 3.0, 2.0]))
    np.testing.assert_array_equal(kept.poses, poses[[1, 4, 5, 0]])
    np.testing.assert_allclose(kept.weights, np.array([8, 3, 2, 1]) / 14)
    np.testing.assert_array_equal(Hypotheses.of(poses).poses, poses)
    assert Hypotheses.of(kept) is kept and Hypotheses.of(OBLIQUE).poses.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("poses", "weights", "words"),
    [
        (np.zeros((0, 4, 4)), None, "shape"),
        (np.eye(3), None, "shape"),
        (np.diag([1.0, 1, -1, 1]), None, "reflection"),
        (np.stack([np.eye(4)] * 2), np.array([1.0]), "weights of 2"),
        (np.eye(4), np.array([np.nan]), "weights"),
        (np.eye(4), np.array([0.0]), "weights"),
    ],
)
def test_hypotheses_that_make_no_sense_are_refused(poses, weights, words):
    with pytest.raises(InputError, match=words):
        Hypotheses(poses, weights)


def test_every_hypothesis_is_a_start_and_the_likeliest_are_spread():
    poses = spread_starts(OBLIQUE, ISOCENTRE, 90.0)[:7]
    settings = SearchSettings(rotation_deg=10.0)
    starts = starts_of(Hypotheses(poses), ISOCENTRE, settings)
    assert len(starts) == 15 * SPREAD_AROUND + 7 - SPREAD_AROUND
    for pose in poses:
        assert np.abs(starts - pose).max(axis=(1, 2)).min() < 1e-12
    assert len(starts_of(Hypotheses(OBLIQUE), ISOCENTRE, replace(settings, twins=True))) == 45
    gridded = starts_of(Hypotheses(OBLIQUE), ISOCENTRE, replace(settings, grid=(10.0, 0.0)))
    assert len(gridded) == 15 + 27


def test_twins_see_the_isocentre_where_the_pose_does():
    twins = mirrored_twins(OBLIQUE, ISOCENTRE)
    for twin in twins:
        np.testing.assert_allclose(_seen(twin), _seen(OBLIQUE), atol=1e-9)
        np.testing.assert_allclose(twin[:3, :3] @ twin[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(twin[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(twins[0, :3, 2], -OBLIQUE[:3, 2], atol=1e-12)
    np.testing.assert_allclose(twins[0, :3, 1], OBLIQUE[:3, 1], atol=1e-12)
    # Of a view straight from the front both are the view straight from the back.
    front, back = view_pose("AP", ISOCENTRE, 700.0), view_pose("PA", ISOCENTRE, 700.0)
    np.testing.assert_allclose(mirrored_twins(front, ISOCENTRE), [back, back], atol=1e-9)


def test_a_symmetric_patient_looks_the_same_from_the_second_twin():
    ct = phantom_ct(3, size=(80, 60, 80), spacing=4.0)
    assert np.abs(ct.ijk_to_ras[0, :3]).argmax() == 0  # its last axis runs from right to left
    renderer = Renderer(replace(ct, hounsfield=(ct.hounsfield + ct.hounsfield[..., ::-1]) / 2), levels=1)
    camera = Camera(90000.0, 64, 64, (6.0, 6.0))  # all but parallel beams
    motion = np.array([np.deg2rad(8.0), 0, np.deg2rad(25.0), 0, 0, 0])
    pose = rigid.update_pose(view_pose("AP", ct.centre_ras, 89000.0), motion, ct.centre_ras)
    opposite, seen_alike = mirrored_twins(pose, ct.centre_ras)

    def alike(other):
        images = [renderer.render(camera, p).ravel() for p in (pose, other)]
        return np.corrcoef(*images)[0, 1]

    assert 1 - alike(seen_alike) < 0.1 * (1 - alike(opposite))  # the other twin is the control


def test_the_wrong_side_is_made_good_by_the_twins(phantom):
    ct, renderer, xray, truth = phantom
    for wrong in mirrored_twins(truth, ct.centre_ras):
        assert _tre(wrong, truth) > 60
        found = refine(renderer, xray, wrong, SearchSettings(twins=True))
        assert _tre(found.pose, truth) < 0.5 and found.starts == 45
    # The control: without them the X-ray is not even nearly explained.
    assert refine(renderer, xray, wrong, SearchSettings(rotation_deg=10.0)).similarity < found.similarity - 0.1


def test_far_off_in_angle_is_made_good_by_a_grid(phantom):
    ct, renderer, xray, truth = phantom
    away = displaced(truth, ct.centre_ras, np.deg2rad([40.0, -35.0, 38.0]), np.array([20.0, -30.0, 40.0]))
    near = SearchSettings(rotation_deg=5.0)
    found = refine(renderer, xray, away, replace(near, grid=(50.0, 40.0)))
    assert _tre(found.pose, truth) < 0.5
    assert found.starts == 100  # the best of the grid's


def test_agreement_is_the_share_of_the_starts_that_ended_here(phantom):
    """Two starts beside the truth, one that looks at the phantom from the side and can only end elsewhere."""
    ct, renderer, xray, truth = phantom
    near = [displaced(truth, ct.centre_ras, np.deg2rad([2.0, n, 1.0]), np.array([3.0, n, 0.0])) for n in (-2, 2)]
    aside = displaced(truth, ct.centre_ras, np.deg2rad([0.0, 80.0, 0.0]), np.zeros(3))
    alone = SearchSettings(rotation_deg=0.0)
    for poses, share in ((near, 1.0), ([*near, aside], 2 / 3), ([near[0], aside], 1 / 2)):
        found = refine(renderer, xray, np.array(poses), alone)
        assert _tre(found.pose, truth) < 0.5 and found.starts == len(poses)
        assert found.agreement == pytest.approx(share)


def test_one_start_alone_agrees_with_nobody(phantom):
    _, renderer, xray, truth = phantom
    found = refine(renderer, xray, truth, SearchSettings(rotation_deg=0.0))
    assert found.agreement is None and found.starts == 1 and found.runner_up_gap == np.inf


def test_the_gap_is_that_of_the_pose_that_is_kept(phantom):
    """The wider search finds the truth, where the first pass could not: what it leaves behind is an alternative."""
    ct, renderer, xray, truth = phantom
    aside = displaced(truth, ct.centre_ras, np.deg2rad([0.0, 0.0, 80.0]), np.zeros(3))
    narrow = SearchSettings(rotation_deg=60.0, schedule=replace(WHOLE_BODY, search_wider_below=0.999))
    found = refine(renderer, xray, aside, narrow)
    assert _tre(found.pose, truth) < 0.5
    places = [distance_mm(other.pose, found.pose, ct.centre_ras) for other in found.alternatives]
    gaps = [other.gap for other in found.alternatives]
    assert all(place > 10 for place in places) and gaps == sorted(gaps)
    assert found.runner_up_gap == (gaps[0] if gaps else np.inf)
    # From the truth itself both passes end there, and the second is no rival of the first.
    again = refine(renderer, xray, truth, replace(narrow, rotation_deg=5.0))
    assert _tre(again.pose, truth) < 0.5
    assert all(distance_mm(o.pose, again.pose, ct.centre_ras) > 10 for o in again.alternatives)


def test_an_equally_good_pose_elsewhere_is_told():
    """A ball that looks the same from everywhere: the starts end apart, at the same similarity."""
    z, y, x = np.mgrid[-12:13, -12:13, -12:13]
    ball = np.where(x**2 + y**2 + z**2 < 100, 400.0, -1000.0).astype(np.float32)
    ct = CTVolume(ball, np.diag([4.0, 4.0, 4.0, 1.0]))
    renderer = Renderer(ct, levels=2)
    pose = view_pose("AP", ct.centre_ras, 720.0)
    xray = XRay(renderer.render(CAMERA, pose), CAMERA)
    once = Stage(32, (0,), (1.0,), 10, 0.1, 4)
    schedule = replace(WHOLE_BODY, search=(once,), refinement=(once,), clutter_aware=False)
    found = refine(renderer, xray, pose, SearchSettings(rotation_deg=40.0, schedule=schedule))
    assert found.similarity > 0.98 and found.runner_up_gap < 0.5 and found.agreement < 0.3
