"""Images at predicted poses: their derivative, through the renderer, in the prediction."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.image_term import images_at, twists
from DiffPoseRegistrationLib.encoder.losses import ncc_distance
from DiffPoseRegistrationLib.encoder.parameterisation import Parameterisation
from DiffPoseRegistrationLib.encoder.simulator import TrainingSimulator
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.rendering.autograd import render_at
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from encoder_scenes import CAMERA, range_of, small_ct


@pytest.fixture(scope="module")
def simulator():
    ct = small_ct()
    return TrainingSimulator(ct, CAMERA, range_of(ct), side=32)


def test_render_at_has_the_renderers_derivative(simulator):
    renderer, camera, ct = simulator.renderers[0], simulator.camera, small_ct()
    poses = np.stack([simulator.frame.centre, simulator.pose_range.sample(np.random.default_rng(0), 1)[0]])
    zero = torch.zeros(2, 6, requires_grad=True)
    image = render_at(zero, renderer, camera, poses)
    np.testing.assert_allclose(image.detach().numpy(), renderer.render_batch(camera, poses), rtol=1e-4, atol=1e-4)
    weight = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) - 0.3
    (weight * image).sum().backward()
    scale = np.array([2e-3] * 3 + [0.2] * 3)
    for a in range(6):
        change = scale[a] * np.eye(6)[a]
        ahead, behind = (
            renderer.render_batch(camera, rigid.update_pose(poses, sign * change, ct.centre_ras)) for sign in (1, -1)
        )
        slope = ((ahead - behind).astype(np.float64) * weight.numpy()).sum(axis=(1, 2)) / 2
        reach = np.abs(weight.numpy() * (ahead - behind)).sum(axis=(1, 2)) / 2
        assert (np.abs(zero.grad[:, a].numpy() * scale[a] - slope) < 0.01 * reach).all()


@pytest.mark.parametrize("names", [("rotation_vector", "projection"), ("quaternion_adjugate", "camera")])
def test_twists_are_the_poses_own_motion(simulator, names):
    """The twists against finite differences of the pose that the network's numbers stand for."""
    frame, about, step = simulator.frame, simulator.renderers[0].isocentre, 1e-5
    pose_of = Parameterisation(*names, frame)
    here = torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 0.5, (1, pose_of.outputs)))

    def pose(numbers):
        return frame.poses(*(part.numpy() for part in pose_of(numbers)))[0]

    found = torch.func.jacrev(lambda x: twists(pose_of(x.float()), frame, about)[0])(here)[:, 0].numpy()
    expected, elsewhere = np.empty_like(found), np.empty_like(found)
    for a in range(pose_of.outputs):
        change = step * torch.eye(pose_of.outputs, dtype=torch.float64)[a]
        motion = pose(here + change) @ rigid.inverse(pose(here - change))
        expected[:, a] = rigid.se3_log(rigid.about_point(motion, -about)) / (2 * step)
        elsewhere[:, a] = rigid.se3_log(rigid.about_point(motion, -frame.isocentre)) / (2 * step)
    size = np.array([1.0] * 3 + [100.0] * 3)[:, None]
    np.testing.assert_allclose(found / size, expected / size, atol=3e-3)
    # Control: about the range's isocentre, not the renderer's, the translations differ.
    assert np.abs(found - elsewhere)[3:].max() > 2


def test_unlike_images_pull_towards_the_truth(simulator):
    """The gradient of 1 - NCC in the network's numbers against rendering at changed numbers."""
    frame, renderer = simulator.frame, Renderer(small_ct(), levels=1)
    pose_of = Parameterisation("rotation_vector", "projection", frame)
    true = torch.from_numpy(np.random.default_rng(3).uniform(-0.5, 0.5, (2, 6)).astype(np.float32))
    target = images_at(pose_of(true), frame, renderer, simulator.camera, 0).detach()
    predicted = (true + 0.1).requires_grad_()
    ncc_distance(images_at(pose_of(predicted), frame, renderer, simulator.camera, 0), target).sum().backward()

    def value(numbers):
        poses = frame.poses(*(part.double().numpy() for part in pose_of(torch.from_numpy(numbers))))
        images = torch.from_numpy(renderer.render_batch(simulator.camera, poses, 0))
        return ncc_distance(images, target).numpy()

    at, step = predicted.detach().numpy(), np.float32(8e-3)
    slope = np.stack(
        [(value(at + step * one) - value(at - step * one)) / (2 * step) for one in np.eye(6, dtype=np.float32)], 1
    )
    np.testing.assert_allclose(predicted.grad.numpy(), slope, atol=0.06 * np.abs(slope).max())
    assert float((predicted.grad * 0.1).sum()) > 0
