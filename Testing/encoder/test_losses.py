"""The losses against the error metrics, by hand and by brute force."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.losses import (
    consistency,
    dice_distance,
    double_geodesic,
    landmark_distance,
    log_distance,
    ncc_distance,
    scene_distance,
    vote_distance,
)
from DiffPoseRegistrationLib.encoder.parameterisation import Seen
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.metrics.errors import target_registration_errors
from encoder_scenes import LANDMARKS, oblique_frame


def _seen(frame, poses):
    return Seen(*(torch.from_numpy(part) for part in frame.relative(poses)))


@pytest.fixture
def pairs():
    pose_range, frame = oblique_frame()
    poses = pose_range.sample(np.random.default_rng(0), 10)
    return frame, poses[:5], poses[5:]


def test_landmark_distance_is_the_target_registration_error(pairs):
    frame, a, b = pairs
    found = landmark_distance(_seen(frame, a), _seen(frame, b), torch.from_numpy(frame.points(LANDMARKS)))
    expected = [target_registration_errors(x, y, LANDMARKS).mean() for x, y in zip(a, b)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_scene_coordinates_are_points_that_project_to_their_cells(pairs):
    """Points of the body at the isocentre's depth, projected by the camera, are what the cell at that pixel shows."""
    frame, poses, _ = pairs
    camera, zooms = Camera(1020.0, 4, 5, (60.0, 60.0)), np.array([1.0, 0.8, 1.2, 1.0, 1.1])
    pixels = np.stack(np.meshgrid(np.arange(5), np.arange(4)), -1)
    positions = frame.relative(poses)[1]
    points = np.empty((5, 3, 4, 5))
    for n in range(5):
        # By another way than the loss: through the world, from the camera zoomed.
        on_detector = camera.zoomed(zooms[n]).pixels_to_camera(pixels)
        at_depth = on_detector * (positions[n, 2] / 1020.0)
        points[n] = np.moveaxis(frame.points(rigid.transform_points(poses[n], at_depth.reshape(-1, 3))), 1, 0).reshape(
            3, 4, 5
        )
    rays = torch.from_numpy(camera.pixels_to_camera(pixels) / 1020.0)
    shares = torch.rand(5, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    arguments = _seen(frame, poses), torch.from_numpy(zooms), rays, shares
    assert scene_distance(torch.from_numpy(points), *arguments).max() < 0.011
    aside = points + np.array([3.0, 0, 4.0])[:, None, None]
    np.testing.assert_allclose(scene_distance(torch.from_numpy(aside), *arguments), 5, rtol=1e-4)
    # A cell that shows nothing counts for nothing, and an image of nothing not at all.
    shares[:4, 1:] = 0
    shares[4] = 0
    aside[:, :, 1:] += 1e3
    expected = 5 * np.minimum(shares.sum((1, 2)).numpy(), 1)
    np.testing.assert_allclose(scene_distance(torch.from_numpy(aside), *arguments), expected, rtol=1e-4)


def test_votes_count_for_rotation_and_depth_and_by_what_their_cells_show(pairs):
    frame, a, b = pairs
    points = torch.from_numpy(frame.points(LANDMARKS))
    true, other = _seen(frame, a), _seen(frame, b)
    sideways = torch.tensor([1.0, 0.02, 1.0], dtype=torch.float64) * true.position
    deeper = true.position * 1.05
    rotations = torch.stack([true.rotation, true.rotation, other.rotation], 1)
    votes = Seen(rotations, torch.stack([sideways, deeper, true.position], 1))
    expected = landmark_distance(Seen(other.rotation, true.position), true, points)
    further = (deeper - true.position).norm(dim=1)

    def distance(*shares):
        return vote_distance(votes, true, points, torch.tensor([shares], dtype=torch.float64).expand(5, -1))

    assert distance(1, 0, 0).max() < 0.011
    np.testing.assert_allclose(distance(0, 1, 0), further, rtol=1e-5)
    np.testing.assert_allclose(distance(0, 0, 1), expected, rtol=1e-5)
    np.testing.assert_allclose(distance(0, 0.5, 1), (0.5 * further + expected) / 1.5, rtol=1e-5)
    np.testing.assert_allclose(distance(0, 0.2, 0), 0.2 * further, rtol=1e-5)


def test_double_geodesic_is_angle_and_way_of_the_source(pairs):
    frame, a, b = pairs
    found = double_geodesic(_seen(frame, a), _seen(frame, b), 510.0)
    angle = np.linalg.norm(rigid.so3_log(np.swapaxes(a[:, :3, :3], 1, 2) @ b[:, :3, :3]), axis=1)
    way = np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=1)
    np.testing.assert_allclose(found, np.hypot(510 * angle, way), rtol=1e-5)


def test_log_distance_is_that_of_the_motion_between_the_cameras(pairs):
    frame, a, b = pairs
    found = log_distance(_seen(frame, a), _seen(frame, b))
    np.testing.assert_allclose(found, np.linalg.norm(rigid.se3_log(rigid.inverse(a) @ b), axis=1), rtol=1e-3)


def test_consistency_sees_what_views_do_not_share(pairs):
    frame, true, _ = pairs
    together = rigid.se3_exp(np.array([0.1, -0.2, 0.05, 30.0, 5.0, -9.0])) @ true
    assert consistency(_seen(frame, together), _seen(frame, true), 510.0).max() < 0.1
    one = true.copy()
    one[2, :3, 3] += [3, 4, 0]
    found = consistency(_seen(frame, one), _seen(frame, true), 510.0).numpy()
    np.testing.assert_allclose(found, [1.25, 1.25, 5, 1.25, 1.25], atol=0.1)
    alone = _seen(frame, true[:1])
    assert float(consistency(alone, alone, 510.0)) == 0


@pytest.mark.parametrize("loss", [
    lambda a, b: landmark_distance(a, b, torch.eye(3, dtype=torch.float64) * 50),
    lambda a, b: double_geodesic(a, b, 100.0),
    log_distance,
])  # fmt: skip
def test_gradients_are_right_and_finite_at_the_truth(pairs, loss):
    frame, a, b = pairs
    true = _seen(frame, a)
    at_truth = Seen(*(part.clone().requires_grad_() for part in true))
    loss(at_truth, true).sum().backward()
    assert all(torch.isfinite(part.grad).all() for part in at_truth)
    away = tuple(part.requires_grad_() for part in _seen(frame, b))
    assert torch.autograd.gradcheck(lambda r, p: loss(Seen(r, p), true), away, atol=1e-4, rtol=1e-3)


def _corrcoef(x, y):
    return np.corrcoef(x.ravel(), y.ravel())[0, 1]


def test_ncc_is_numpys_correlation():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 12, 15))
    b += 0.7 * a
    expected = [1 - _corrcoef(x, y) for x, y in zip(a, b)]
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    np.testing.assert_allclose(ncc_distance(a, b), expected)
    np.testing.assert_allclose(ncc_distance(2 * a + 7, a), 0, atol=1e-12)
    np.testing.assert_allclose(ncc_distance(-a, a), 2)


def test_multiscale_ncc_is_half_that_of_every_patch():
    a, b = np.random.default_rng(0).normal(size=(2, 2, 9, 11))
    b += 0.7 * a
    found = ncc_distance(torch.from_numpy(a), torch.from_numpy(b), 5)
    for n in range(2):
        patches = [
            _corrcoef(a[n, r : r + 5, c : c + 5], b[n, r : r + 5, c : c + 5]) for r in range(5) for c in range(7)
        ]
        assert float(found[n]) == pytest.approx(1 - (_corrcoef(a[n], b[n]) + np.mean(patches)) / 2, abs=2e-3)


def test_an_empty_image_has_no_correlation_and_no_pull():
    empty = torch.zeros(1, 8, 8, requires_grad=True)
    loss = ncc_distance(empty, torch.rand(1, 8, 8), 5).sum()
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=0.02) and torch.isfinite(empty.grad).all()


def test_dice_by_hand():
    a, b = torch.zeros(1, 2, 10, 10), torch.zeros(1, 2, 10, 10)
    a[0, 0, :4], b[0, 0, 2:6] = 1, 1  # half of 40 pixels overlap
    a[0, 1], b[0, 1] = 1, 1
    assert float(dice_distance(a, b)) == pytest.approx(1 - ((2 * 20 + 1) / 81 + 1) / 2)
