"""What the network regresses, as coordinates and back, in numpy and in torch."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder import rigid_torch
from DiffPoseRegistrationLib.encoder.coordinates import coordinate_scale, coordinates_to_poses, poses_to_coordinates
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose

ISOCENTRE = np.array([10.0, -20.0, 300.0])


def _range(rotation=(30, 20, 10), translation=(60, 120, 40), view="LL"):
    return PoseRange(view_pose(view, ISOCENTRE, 700.0), ISOCENTRE, rotation, translation)


def test_poses_come_back():
    pose_range = _range()
    poses = pose_range.sample(np.random.default_rng(0), 50)
    coordinates = poses_to_coordinates(poses, pose_range)
    np.testing.assert_allclose(coordinates_to_poses(coordinates, pose_range), poses, atol=1e-9)
    again = poses_to_coordinates(coordinates_to_poses(coordinates, pose_range), pose_range)
    np.testing.assert_allclose(again, coordinates, atol=1e-9)
    assert np.abs(coordinates).max() < 1.5  # of the order of one
    np.testing.assert_allclose(poses_to_coordinates(pose_range.centre[None], pose_range), 0, atol=1e-9)


def test_the_ends_of_the_range_are_at_one():
    """Each half range alone: its own coordinate is one (order: secondary, primary, roll, across, up, along)."""
    pose_range = _range()
    half = np.diag([30, 20, 10, 60, 120, 40.0])  # primary, secondary, roll, across, along, up-down
    found = poses_to_coordinates(pose_range.pose(half), pose_range)
    np.testing.assert_allclose(found, np.eye(6)[[1, 0, 2, 3, 5, 4]], atol=1e-9)
    np.testing.assert_allclose(poses_to_coordinates(pose_range.pose(-half), pose_range), -found, atol=1e-9)


def test_a_range_of_nothing_has_a_scale():
    scale = coordinate_scale(_range((0, 0, 0), (0, 0, 0)))
    np.testing.assert_allclose(scale, [np.deg2rad(1)] * 3 + [1] * 3)
    np.testing.assert_allclose(coordinate_scale(_range()), [*np.deg2rad([20, 30, 10]), 60, 40, 120])


def test_half_a_turn_off_comes_back():
    pose_range = _range((180, 20, 20))
    poses = pose_range.pose(np.array([[179.0, 0, 0, 5, 5, 5], [-179.0, 10, 10, 0, 0, 0]]))
    np.testing.assert_allclose(
        coordinates_to_poses(poses_to_coordinates(poses, pose_range), pose_range), poses, atol=1e-8
    )


@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-5, 0.99e-4, 1.01e-4, 0.01, 1.0, 3.1])
def test_torch_and_numpy_agree_on_rotations(length):
    axes = np.random.default_rng(0).normal(size=(5, 3))
    omega = length * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    in_torch = torch.tensor(omega, dtype=torch.float64, requires_grad=True)
    rotation = rigid_torch.so3_exp(in_torch)
    np.testing.assert_allclose(rotation.detach().numpy(), rigid.so3_exp(omega), atol=1e-14)
    if length < 3.1 and (length == 0 or length > 1e-5):
        angle = rigid_torch.rotation_angle(rotation)
        # Below a millionth of a radian the angle is cut off, so that its gradient stays finite.
        np.testing.assert_allclose(angle.detach().numpy(), length, atol=1e-6)
    rotation[:, 0, 1].sum().backward()
    assert torch.isfinite(in_torch.grad).all()


@pytest.mark.parametrize("length", [0.0, 1e-7, 0.5, np.pi])
def test_gradient_of_the_angle_is_finite(length):
    omega = torch.tensor([[length, 0.0, 0.0]], requires_grad=True)
    angle = rigid_torch.rotation_angle(rigid_torch.so3_exp(omega))
    angle.sum().backward()
    assert torch.isfinite(omega.grad).all()
    if length == 0.5:
        np.testing.assert_allclose(omega.grad.numpy(), [[1, 0, 0]], atol=1e-4)


def test_torch_exponential_has_the_right_derivative():
    for omega in ([0.0, 0, 0], [1e-5, 0, 0], [0.3, -0.8, 1.1]):
        value = torch.tensor([omega], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(rigid_torch.so3_exp, (value,), atol=1e-6)
