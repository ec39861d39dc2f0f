"""The predicted error on problems with a known answer."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.refinement.uncertainty import (
    CALIBRATION,
    point_covariance,
    predicted_errors,
    sandwich_covariance,
    score_scatter,
    weak_direction,
)
from scipy import ndimage

ISOCENTRE = np.array([10.0, -20.0, 300.0])


def _fitted(rows, residuals):
    """Scores [n, 6], Gauss-Newton matrix and estimate of a linear regression whose truth is zero."""
    normal = rows.T @ rows
    answer = np.linalg.solve(normal, rows.T @ residuals)
    return (rows @ answer - residuals)[:, None] * rows, normal, answer


def _rows(random, shape):
    """Sensitivities [n, 6] of measurements on a grid: each coordinate's own smooth pattern; radians the long lever."""
    smooth = ndimage.gaussian_filter(random.normal(size=(*shape, 6)), (3, 3, 0))
    return (smooth / smooth.std() * [100, 80, 120, 1, 2, 1]).reshape(-1, 6)


def _experiments(noise_sigma, length_px, count=200):
    """Mean predicted variances [6] over the scatter of the estimates, for noise alike over ``noise_sigma`` pixels."""
    random = np.random.default_rng(1)
    shape = (40, 40)
    centres = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1).reshape(-1, 2).astype(float)
    rows = _rows(random, shape)
    answers, predicted = [], []
    for _ in range(count):
        noise = random.normal(size=shape)
        if noise_sigma:
            noise = ndimage.gaussian_filter(noise, noise_sigma)
        scores, normal, answer = _fitted(rows, (noise / noise.std()).ravel())
        scatter = score_scatter(centres, scores, length_px)
        answers.append(answer)
        predicted.append(np.diag(sandwich_covariance(normal, scatter, 0.0)) / CALIBRATION**2)
    return np.mean(predicted, axis=0) / np.var(answers, axis=0)


def test_covariance_of_a_regression_with_independent_noise():
    """The scatter of repeated experiments, as the textbook's sigma^2 (R^T R)^-1 gives it."""
    np.testing.assert_allclose(_experiments(0, 0.5), 1.0, atol=0.3)


def test_covariance_of_a_regression_with_noise_that_is_alike_nearby():
    """Neighbours that err together count once; the control takes them for independent."""
    assert 0.5 < np.median(_experiments(2.0, 5.0)) < 1.5
    assert np.median(_experiments(2.0, 0.5)) < 0.25


def test_scatter_by_hand():
    scores = np.array([[1.0, 0], [3.0, 0], [0, 2.0]])
    far = np.array([[0.0, 0], [0, 1000], [1000, 0]])
    np.testing.assert_allclose(score_scatter(far, scores, 5.0), [[10, 0], [0, 4]])
    np.testing.assert_allclose(score_scatter(np.zeros((3, 2)), scores, 5.0), [[16, 8], [8, 4]])  # of the sum
    apart = np.array([[0.0, 0], [3, 4], [1000, 0]])
    together = 10 + 2 * 3 * np.exp(-0.5)
    np.testing.assert_allclose(score_scatter(apart, scores, 5.0)[0, 0], together)


def test_blind_direction_is_very_uncertain_but_finite():
    random = np.random.default_rng(2)
    rows = random.normal(size=(100, 6))
    rows[:, 4] = 1e-9 * rows[:, 4]
    scores, normal, _ = _fitted(rows, random.normal(size=100))
    centres = np.stack([np.arange(100.0), np.zeros(100)], axis=1)
    for sensitivity in (normal, normal * (np.arange(6) != 4)):  # hardly seen, and not seen at all
        found = sandwich_covariance(sensitivity, score_scatter(centres, scores, 1.0), 0.01)
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
