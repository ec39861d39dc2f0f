"""Levenberg-Marquardt on problems whose answer is known."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import Cancelled
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.pose_range import perturbed, view_pose
from DiffPoseRegistrationLib.refinement.levenberg_marquardt import minimise

ISOCENTRE = np.array([10.0, -20.0, 300.0])
TRUE = view_pose("AP", ISOCENTRE, 700.0)
POINTS = ISOCENTRE + np.random.default_rng(0).uniform(-80, 80, (12, 3))


def _points_in_camera(poses):
    """Mean squared distance between points placed by a pose and by the true one; the residual's exact derivative."""
    target = rigid.transform_points(rigid.inverse(TRUE), POINTS)
    cost, gradient, normal = [], [], []
    for pose in poses:
        rotation = pose[:3, :3]
        residual = (rigid.transform_points(rigid.inverse(pose), POINTS) - target) / 100
        # The camera moves by (omega, v) about c: a point p moves in it by -R^T (omega x (p - c) + v).
        jacobian = np.concatenate(
            [rotation.T @ rigid.hat(POINTS - ISOCENTRE), np.broadcast_to(-rotation.T, (len(POINTS), 3, 3))], axis=-1
        )
        jacobian = jacobian.reshape(-1, 6) / 100
        residual = residual.reshape(-1)
        cost.append(0.5 * residual @ residual)
        gradient.append(jacobian.T @ residual)
        normal.append(jacobian.T @ jacobian)
    return np.array(cost), np.array(gradient), np.array(normal)


def _apart(pose):
    return np.linalg.norm(
        rigid.transform_points(rigid.inverse(pose), POINTS) - rigid.transform_points(rigid.inverse(TRUE), POINTS),
        axis=1,
    ).max()


def _starts(count=8, degrees=40.0, millimetres=100.0):
    random = np.random.default_rng(1)
    return np.stack([perturbed(TRUE, ISOCENTRE, degrees, millimetres, random) for _ in range(count)])


def test_points_on_se3_are_found_from_far_away():
    starts = _starts()
    assert min(_apart(p) for p in starts) > 30
    minimum = minimise(_points_in_camera, starts, ISOCENTRE, iterations=30)
    assert max(_apart(p) for p in minimum.poses) < 1e-2
    assert minimum.iterations < 15  # second order: a few steps
    for pose in minimum.poses:
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-10)
    np.testing.assert_allclose(minimum.cost, _points_in_camera(minimum.poses)[0])
    np.testing.assert_allclose(minimum.normal, _points_in_camera(minimum.poses)[2])


def test_wrong_sign_of_the_derivative_is_found_out():
    """The control: with the twist taken the other way nothing is found."""

    def wrong(poses):
        cost, gradient, normal = _points_in_camera(poses)
        return cost, -gradient, normal

    starts = _starts(2)
    minimum = minimise(wrong, starts, ISOCENTRE, iterations=30)
    assert min(_apart(p) for p in minimum.poses) > 30


def test_cost_never_rises_and_starts_do_not_disturb_one_another():
    starts, costs = _starts(4), []
    together = minimise(_points_in_camera, starts, ISOCENTRE, on_step=lambda _, cost: costs.append(cost.copy()))
    assert (np.diff(np.array(costs), axis=0) <= 0).all() and len(costs) == together.iterations - 1
    for n in range(4):
        alone = minimise(_points_in_camera, starts[n : n + 1], ISOCENTRE)
        np.testing.assert_allclose(alone.poses[0], together.poses[n], atol=1e-9)


def test_iterations_count_renders_and_are_a_limit():
    calls = []

    def counted(poses):
        calls.append(len(poses))
        return _points_in_camera(poses)

    minimum = minimise(counted, _starts(3), ISOCENTRE, iterations=2)
    assert minimum.iterations == len(calls) == 2 and calls[0] == 3
    given = _starts(1)
    kept = given.copy()
    assert minimise(_points_in_camera, given, ISOCENTRE, iterations=1).poses[0] == pytest.approx(kept[0])
    np.testing.assert_array_equal(given, kept)


def test_a_direction_that_cannot_be_seen_is_left_alone():
    """Only the points' shift across is measured: no step along the beam, nor a failure of the solver."""

    def across_only(poses):
        seen = np.diag([0.0, 0, 0, 1, 0, 1])
        shift = np.array(
            [rigid.transform_points(p @ rigid.inverse(TRUE), ISOCENTRE[None])[0] - ISOCENTRE for p in poses]
        )
        residual = shift[:, [0, 2]] / 100
        gradient = np.zeros((len(poses), 6))
        gradient[:, [3, 5]] = residual / 100
        return 0.5 * (residual**2).sum(axis=1), gradient, np.stack([seen / 1e4] * len(poses))

    start = rigid.update_pose(TRUE, np.array([0, 0, 0, 30.0, 12.0, -20.0]), ISOCENTRE)
    minimum = minimise(across_only, start[None], ISOCENTRE)
    np.testing.assert_allclose((minimum.poses[0] - TRUE)[:3, 3], [0, 12, 0], atol=0.05)


def test_what_the_callback_raises_ends_the_search():
    def stop(*_):
        raise Cancelled

    with pytest.raises(Cancelled):
        minimise(_points_in_camera, _starts(1), ISOCENTRE, on_step=stop)
