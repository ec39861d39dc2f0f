"""The predicted error on problems with a known answer."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.refinement.uncertainty import (
    CALIBRATION,
    PATCH_PIXELS,
    least_squares_covariance,
    point_covariance,
    predicted_errors,
    weak_direction,
)

ISOCENTRE = np.array([10.0, -20.0, 300.0])


def test_covariance_of_a_linear_regression():
    """One linear measurement per independent piece of image: the textbook sigma^2 (R^T R)^-1, and near the
    scatter of repeated experiments."""
    random = np.random.default_rng(1)
    count, noise = 400, 0.7
    rows = random.normal(size=(count, 6)) * [100, 80, 120, 1, 2, 1]  # radians have the long lever
    answers, predicted = [], []
    for _ in range(300):
        data = random.normal(size=count) * noise
        answer = np.linalg.solve(rows.T @ rows, rows.T @ data)
        answers.append(answer)
        cost = 0.5 * np.mean((rows @ answer - data) ** 2)
        found = least_squares_covariance(cost, rows.T @ rows / count, count * PATCH_PIXELS)
        predicted.append(found / CALIBRATION**2)
    textbook = noise**2 * np.linalg.inv(rows.T @ rows)
    np.testing.assert_allclose(np.mean(predicted, axis=0), textbook, rtol=0.05, atol=1e-3 * textbook.max())
    scatter = np.cov(np.array(answers).T)
    np.testing.assert_allclose(np.diag(np.mean(predicted, axis=0)) / np.diag(scatter), 1.0, atol=0.25)
    # The control: with a quarter of the evidence the covariance is four times as large.
    fewer = least_squares_covariance(cost, rows.T @ rows / count, count * PATCH_PIXELS / 4) / CALIBRATION**2
    np.testing.assert_allclose(fewer, 4 * predicted[-1])


def test_blind_direction_is_very_uncertain_but_finite():
    random = np.random.default_rng(2)
    rows = random.normal(size=(100, 6))
    rows[:, 4] = 1e-9 * rows[:, 4]
    found = least_squares_covariance(0.01, rows.T @ rows / 100, 6400.0)
    assert np.isfinite(found).all() and found[4, 4] > 1e6 * found[0, 0]


def test_weak_direction_is_the_beam_when_depth_is_blind():
    """A covariance that only knows translation along the beam shows up there and nowhere else."""
    pose = view_pose("LL", ISOCENTRE, 700.0)
    covariance = np.zeros((6, 6))
    beam = pose[:3, 2]
    covariance[3:, 3:] = 4.0 * np.outer(beam, beam)
    across, down, along = weak_direction(covariance, ISOCENTRE + np.eye(3) * 50, ISOCENTRE, pose)
    assert along == pytest.approx(2.0) and across < 1e-6 and down < 1e-6


def test_point_covariance_is_that_of_moved_points():
    """Drawn twists move the camera: the points' scatter in camera coordinates, turned into the world."""
    random = np.random.default_rng(3)
    root = random.normal(size=(6, 6)) * 1e-3 * np.array([1, 1, 1, 200, 200, 200])[:, None]
    covariance = root @ root.T
    points = ISOCENTRE + np.array([[0, 0, 0], [80, 0, 0], [-30, 60, 90.0]])
    pose = view_pose("AP", ISOCENTRE, 700.0)
    twists = random.normal(size=(20000, 6)) @ root.T
    moved = rigid.inverse(rigid.update_pose(pose, twists, ISOCENTRE))
    for n, point in enumerate(points):
        placed = (
            moved[:, :3, :3] @ point + moved[:, :3, 3] - rigid.transform_points(rigid.inverse(pose), point[None])[0]
        )
        scatter = np.cov((placed @ pose[:3, :3].T).T)
        found = point_covariance(covariance, points, ISOCENTRE)[n]
        np.testing.assert_allclose(found, scatter, atol=0.06 * np.trace(scatter))
        rms = np.sqrt((placed**2).sum(axis=1).mean())
        assert predicted_errors(covariance, points, ISOCENTRE)[n] == pytest.approx(rms, rel=0.05)


def test_one_degree_alone_by_hand():
    covariance = np.zeros((6, 6))
    covariance[2, 2] = np.deg2rad(1) ** 2  # about the vertical
    points = ISOCENTRE + np.array([[100.0, 0, 0], [0, 100, 50], [0, 0, 100]])
    arc = 100 * np.deg2rad(1)
    np.testing.assert_allclose(predicted_errors(covariance, points, ISOCENTRE), [arc, arc, 0], atol=1e-12)
