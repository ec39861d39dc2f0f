"""Training: its images, its derivative through the renderer, and that it learns."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder import image_term, training
from DiffPoseRegistrationLib.encoder.coordinates import (
    coordinate_scale,
    coordinates_to_poses,
    poses_to_coordinates,
)
from DiffPoseRegistrationLib.encoder.network import PoseEncoder
from DiffPoseRegistrationLib.encoder.simulator import TrainingSimulator, has_content, network_camera
from DiffPoseRegistrationLib.encoder.training import TrainingSettings, train
from DiffPoseRegistrationLib.errors import Cancelled, InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.metrics.errors import target_registration_errors
from DiffPoseRegistrationLib.rendering.autograd import render_at
from DiffPoseRegistrationLib.rendering.renderer import Renderer

CAMERA = Camera(1020.0, 300, 400, (1.0, 1.0))
LANDMARKS = phantom_landmarks(2)


@pytest.fixture(scope="module")
def ct():
    return phantom_ct(2, size=(80, 60, 80), spacing=4.0)


@pytest.fixture(scope="module")
def pose_range(ct):
    # An isocentre beside the CT's centre, so that forgetting the difference shows.
    isocentre = ct.centre_ras + np.array([15.0, -10.0, 25.0])
    return PoseRange(view_pose("AP", isocentre, 720.0), isocentre, (25, 20, 15), (40, 60, 40))


@pytest.fixture(scope="module")
def simulator(ct, pose_range):
    return TrainingSimulator(ct, CAMERA, pose_range)


def test_network_camera_sees_the_same_detector():
    small = network_camera(CAMERA)
    assert (small.rows, small.columns) == (48, 64)
    assert small.rows * small.pixel_spacing_mm[0] == pytest.approx(300)
    narrow = network_camera(Camera(1000, 4000, 20, (1, 1)))
    assert (narrow.rows, narrow.columns) == (64, 8)


def test_images_poses_and_coordinates_belong_together(simulator, pose_range):
    images, poses, coordinates = simulator.batch(np.random.default_rng(0), 6, 1)
    assert images.shape == (6, 48, 64) and images.dtype == np.float32
    np.testing.assert_allclose(coordinates, poses_to_coordinates(poses, pose_range), atol=1e-12)
    again = simulator.renderer(1).render_batch(simulator.camera, poses, simulator.level)
    np.testing.assert_array_equal(images, again)
    assert has_content(images).all()
    # Every batch has another contrast of bone.
    other = simulator.renderer(2).render_batch(simulator.camera, poses, simulator.level)
    assert np.abs(other - images).max() > 0.05
    repeated, _, _ = simulator.batch(np.random.default_rng(0), 6, 1)
    np.testing.assert_array_equal(repeated, images)


def test_content_is_a_tenth_of_the_image():
    images = np.zeros((2, 10, 10), np.float32)
    images[0, 0] = 1.0
    images[1, 0, :9] = 1.0
    assert has_content(images).tolist() == [True, False]


def test_render_at_has_the_renderers_derivative(ct):
    renderer = Renderer(ct, levels=1)
    camera = network_camera(CAMERA)
    poses = np.stack([view_pose(view, ct.centre_ras, 720.0) for view in ("AP", "LL")])
    twists = torch.zeros(2, 6, requires_grad=True)
    image = render_at(twists, renderer, camera, poses)
    np.testing.assert_allclose(image.detach().numpy(), renderer.render_batch(camera, poses), rtol=1e-5, atol=1e-6)
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
        assert (np.abs(twists.grad[:, a].numpy() * scale[a] - slope) < 0.01 * reach).all()


def _twist_derivative(simulator, here):
    """d twist / d coordinates, by autograd, where the prediction is."""
    scale = torch.tensor(coordinate_scale(simulator.pose_range), dtype=torch.float32)
    function = torch.func.jacrev(lambda p: image_term.twists(p[None], here[None], scale, simulator)[0])
    return function(here).numpy()


def test_twists_are_the_poses_own_motion(simulator, pose_range):
    """The image term's twists against finite differences of the pose that the coordinates stand for."""
    isocentre, step = simulator.renderer(0).isocentre, 1e-5
    for seed in range(4):
        here = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, 6).astype(np.float32))
        found = _twist_derivative(simulator, here)
        at = here.numpy().astype(np.float64)
        expected, elsewhere = np.empty((6, 6)), np.empty((6, 6))
        for a in range(6):
            ahead, behind = coordinates_to_poses(at + np.array([[1], [-1]]) * step * np.eye(6)[a], pose_range)
            motion = ahead @ rigid.inverse(behind)
            expected[:, a] = rigid.se3_log(rigid.about_point(motion, -isocentre)) / (2 * step)
            elsewhere[:, a] = rigid.se3_log(rigid.about_point(motion, -pose_range.isocentre)) / (2 * step)
        size = np.array([1.0] * 3 + [100.0] * 3)[:, None]
        np.testing.assert_allclose(found / size, expected / size, atol=2e-3)
        # Control: about the range's isocentre, not the renderer's, the translations differ.
        assert np.abs(found - elsewhere)[3:].max() > 2


def test_image_term_pulls_towards_the_truth(simulator, pose_range):
    """The gradient of 1 - NCC in the coordinates against rendering at changed coordinates."""
    clean, _, coordinates = simulator.batch(np.random.default_rng(3), 2, 0)
    scale = torch.tensor(coordinate_scale(pose_range), dtype=torch.float32)
    predicted = torch.from_numpy(coordinates.astype(np.float32)) + 0.1
    predicted.requires_grad_()
    image_term.image_term(predicted, clean, simulator, 0, scale).backward()

    def value(c):
        poses = coordinates_to_poses(c, pose_range)
        images = simulator.renderer(0).render_batch(simulator.camera, poses, simulator.level)
        return np.mean([1 - np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(images, clean)])

    at, step = predicted.detach().numpy().astype(np.float64), 4e-3
    slope = np.zeros((2, 6))
    for n in range(2):
        for a in range(6):
            change = np.zeros((2, 6))
            change[n, a] = step
            slope[n, a] = (value(at + change) - value(at - change)) / (2 * step)
    np.testing.assert_allclose(predicted.grad.numpy(), slope, atol=0.05 * np.abs(slope).max())
    assert float((predicted.grad * 0.1).sum()) > 0


def test_network_takes_any_size_and_is_repeatable():
    torch.manual_seed(0)
    network = PoseEncoder().eval()
    for size in ((64, 64), (48, 64), (64, 8), (33, 61)):
        image = torch.rand(2, 1, *size)
        assert network(image).shape == (2, 6)
        torch.testing.assert_close(network(image)[:1], network(image[:1]), atol=1e-5, rtol=1e-4)  # no batch statistics
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters < 5e6


class _Clock:
    """Goes on by a second each time it is looked at: so many steps a training, however busy the machine."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(training, "time", _Clock())


def test_training_learns(ct, pose_range, clock):
    told = []
    settings = TrainingSettings(minutes=3, batch_size=32, validation_images=60)
    trained = train(ct, CAMERA, pose_range, LANDMARKS, settings, on_progress=told.append)
    poses = pose_range.sample(np.random.default_rng(1), 200)
    chance = np.median([target_registration_errors(pose_range.centre, p, LANDMARKS).mean() for p in poses])
    assert trained.record["median_error_mm"] < 0.85 * chance
    assert trained.record["images"] == 32 * trained.record["steps"] and trained.record["unseen_images"] == 60
    assert [p.done for p in told] == sorted(p.done for p in told) and told[-1].done == 1.0
    assert told[-1].median_error_mm == trained.record["median_error_mm"]
    assert not trained.network.training and next(trained.network.parameters()).device.type == "cpu"


def test_one_seed_one_network(ct, pose_range, monkeypatch):
    def weights(seed):
        monkeypatch.setattr(training, "time", _Clock())
        settings = TrainingSettings(minutes=0.3, batch_size=8, validation_images=4, seed=seed)
        return torch.cat([p.flatten() for p in train(ct, CAMERA, pose_range, LANDMARKS, settings).network.parameters()])

    first = weights(0)
    torch.testing.assert_close(weights(0), first, atol=1e-4, rtol=1e-3)
    assert (weights(1) - first).abs().max() > 0.01


def test_image_term_can_be_used_from_the_start(ct, pose_range):
    settings = TrainingSettings(minutes=0.5 / 60, batch_size=8, image_share=1.0, validation_images=8)
    trained = train(ct, CAMERA, pose_range, LANDMARKS, settings)
    assert all(torch.isfinite(p).all() for p in trained.network.parameters())
    assert trained.record["settings"]["image_share"] == 1.0


def test_what_the_callback_raises_ends_the_training(ct, pose_range):
    def stop(_):
        raise Cancelled

    with pytest.raises(Cancelled):
        train(
            ct,
            CAMERA,
            pose_range,
            LANDMARKS,
            TrainingSettings(minutes=1, batch_size=8, validation_images=8),
            on_progress=stop,
        )


def test_range_that_misses_the_ct_is_refused_at_once(ct):
    beside = ct.centre_ras + np.array([1500.0, 0, 0])
    away = PoseRange(view_pose("AP", beside, 720.0), beside, (5, 5, 5), (5, 5, 5))
    with pytest.raises(InputError, match="phantom-2 projects into the image from only 0%"):
        train(ct, CAMERA, away, LANDMARKS, TrainingSettings(minutes=10))
