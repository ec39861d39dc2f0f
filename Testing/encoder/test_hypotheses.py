"""What the network reads, as weighed hypotheses."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.encoder.hypotheses import MOST, distance_mm, weighed
from DiffPoseRegistrationLib.encoder.reading import Readings
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, perturbed, view_pose
from DiffPoseRegistrationLib.refinement.starts import mirrored_twins

ISOCENTRE = np.array([10.0, 20.0, 30.0])


def _range(rotation):
    return PoseRange(view_pose("AP", ISOCENTRE, 700.0), ISOCENTRE, rotation, (60, 120, 60))


def _readings(poses, weights, looks=None):
    poses = np.array(poses)[None]
    looks = np.empty((1, poses.shape[1], 0, 4, 4)) if looks is None else np.array(looks)[None]
    return Readings(poses, np.array(weights)[None], looks)


def test_distance_is_what_the_camera_sees():
    pose = _range((30, 30, 30)).centre
    away = pose.copy()
    away[:3, 3] += [3, 4, 0]
    assert distance_mm(pose, away, ISOCENTRE) == pytest.approx(5)
    turned = rigid.update_pose(pose, np.array([0, 0, np.deg2rad(10), 0, 0, 0]), ISOCENTRE)
    # Two of the six points lie on the axis.
    assert distance_mm(pose, turned, ISOCENTRE) == pytest.approx(200 * np.sin(np.deg2rad(5)) * 4 / 6)


def test_the_likeliest_comes_first_and_near_ones_are_one():
    pose_range = _range((30, 30, 30))
    random = np.random.default_rng(0)
    likely = perturbed(pose_range.centre, ISOCENTRE, 20, 20, random)
    unlikely = perturbed(likely, ISOCENTRE, 25, 40, random)
    near = perturbed(unlikely, ISOCENTRE, 1, 1, random)
    found = weighed(_readings([unlikely, likely, near], [0.2, 0.7, 0.1]), pose_range)
    np.testing.assert_allclose(found.poses, [likely, unlikely], atol=1e-9)
    np.testing.assert_allclose(found.weights, [0.7, 0.3])


def test_single_looks_that_disagree_are_hypotheses_too():
    pose_range = _range((30, 30, 30))
    mean = pose_range.centre
    near = perturbed(mean, ISOCENTRE, 1, 3, np.random.default_rng(0))
    far = perturbed(mean, ISOCENTRE, 20, 40, np.random.default_rng(1))
    found = weighed(_readings([mean], [1.0], [[near, near, near, far]]), pose_range)
    assert len(found.poses) == 2 and found.weights[0] > 5 * found.weights[1]
    np.testing.assert_allclose(found.poses[1], far, atol=1e-9)


def test_the_twin_is_offered_where_the_range_reaches_it():
    pose = perturbed(_range((30, 30, 30)).centre, ISOCENTRE, 10, 20, np.random.default_rng(2))
    assert len(weighed(_readings([pose], [1.0]), _range((30, 30, 30))).poses) == 1
    around = weighed(_readings([pose], [1.0]), _range((180, 30, 30)))
    assert len(around.poses) > 1 and around.weights[0] > around.weights[1]
    np.testing.assert_allclose(around.poses[0], pose, atol=1e-9)
    twins = mirrored_twins(pose, ISOCENTRE)
    assert all(min(distance_mm(p, twin, ISOCENTRE) for twin in twins) < 1e-6 for p in around.poses[1:])
    beams = around.poses[:, :3, 2]
    assert beams[0] @ beams[1] < -0.8  # from the other side


def test_not_more_than_refinement_can_use():
    pose_range = _range((180, 90, 180))
    poses = pose_range.sample(np.random.default_rng(0), 30)
    found = weighed(_readings(poses, np.full(30, 1 / 30)), pose_range)
    assert len(found.poses) == MOST and found.weights.sum() == pytest.approx(1)
