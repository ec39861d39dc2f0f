"""X-rays as the network's camera sees them, and how one pose comes out of several looks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.aim import Aim
from DiffPoseRegistrationLib.encoder.network import NetworkShape, PoseEncoder
from DiffPoseRegistrationLib.encoder.parameterisation import Parameterisation
from DiffPoseRegistrationLib.encoder.reading import PoseReader, XRayStack
from DiffPoseRegistrationLib.encoder.simulator import network_camera
from DiffPoseRegistrationLib.encoder.validation import landmark_errors
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import perturbed
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from encoder_scenes import LANDMARKS, oblique_frame, range_of, small_ct

CAMERA = Camera(1020.0, 300, 400, (1.0, 1.0), (190.0, 160.0))
SMALL = network_camera(CAMERA)


@pytest.fixture(scope="module")
def seen():
    """A renderer and a pose; the network's picture rendered directly, each pixel averaged over its own area."""
    ct = small_ct()
    renderer = Renderer(ct, levels=1)
    pose = perturbed(range_of(ct).centre, ct.centre_ras, 10, 20, np.random.default_rng(0))
    return renderer, pose, _averaged(renderer, pose)


def _averaged(renderer, pose, zoom=1.0):
    fine = renderer.render(SMALL.resampled(SMALL.rows * 4, SMALL.columns * 4).zoomed(zoom), pose)
    return fine.reshape(SMALL.rows, 4, SMALL.columns, 4).mean(axis=(1, 3))


def _seen(image, camera, mask=None, turn=None, zoom=1.0):
    """Image and mask [rows, columns] in the network's camera."""
    mask = np.ones(image.shape, bool) if mask is None else mask
    stack = XRayStack(torch.from_numpy(image)[None], torch.from_numpy(mask)[None], camera, SMALL)
    aims = Aim((np.eye(3) if turn is None else turn)[None], np.array([zoom]))
    found, covered = stack.seen([0], aims)
    assert found.shape == covered.shape == (1, 1, 48, 64)
    return found[0, 0].numpy(), covered[0, 0].numpy() > 0


def _difference(found, direct, where):
    return np.abs(found - direct)[where].mean() / direct.std()


@pytest.mark.parametrize(
    "camera",
    [
        CAMERA,
        CAMERA.resampled(600, 800),  # finer pixels
        CAMERA.resampled(100, 130),  # coarser and oblong ones
        Camera(1500.0, 500, 640, (1.0, 0.9), (300.0, 270.0)),  # another detector at another distance
        replace(CAMERA, viewed_from="detector"),
        replace(CAMERA, viewed_from="detector").resampled(450, 500),
    ],
)
def test_another_cameras_xray_looks_as_the_networks_own(seen, camera):
    renderer, pose, direct = seen
    picture = renderer.render(camera, pose)
    image, where = _seen(picture, camera)
    assert where.mean() > 0.9
    assert _difference(image, direct, where) < 0.04
    # Controls: one pixel aside, or mirrored, it is not the same picture.
    column, row = camera.principal_point_px
    shifted, _ = _seen(picture, replace(camera, principal_point_px=(column + camera.columns / 64, row)))
    assert _difference(shifted, direct, where) > 0.06
    side = "detector" if camera.viewed_from == "source" else "source"
    mirrored, _ = _seen(picture, replace(camera, viewed_from=side))
    assert _difference(mirrored, direct, where) > 0.2


def test_a_turned_camera_sees_what_it_would_have_taken(seen):
    renderer, pose, direct = seen
    turn = rigid.so3_exp(np.deg2rad([2.0, -3.0, 8.0]))
    turned = pose.copy()
    turned[:3, :3] = turned[:3, :3] @ turn
    image, where = _seen(renderer.render(CAMERA, pose), CAMERA, turn=turn)
    assert 0.6 < where.mean() < 0.95
    assert _difference(image, _averaged(renderer, turned), where) < 0.05
    assert _difference(image, direct, where) > 0.2  # control: not turned
    other, _ = _seen(renderer.render(CAMERA, pose), CAMERA, turn=turn.T)
    assert _difference(other, _averaged(renderer, turned), where) > 0.2  # control: the other way round


@pytest.mark.parametrize("zoom", [0.8, 1.25])
def test_a_zoomed_camera_sees_what_it_would_have_taken(seen, zoom):
    renderer, pose, direct = seen
    image, where = _seen(renderer.render(CAMERA, pose), CAMERA, zoom=zoom)
    assert where.all() == (zoom > 1) and where.mean() > 0.6
    expected = _averaged(renderer, pose, zoom)
    assert _difference(image, expected, where) < 0.05
    assert _difference(image, direct, where) > 0.15  # control: not zoomed
    other, covered = _seen(renderer.render(CAMERA, pose), CAMERA, zoom=1 / zoom)
    assert _difference(other, expected, where & covered) > 0.15  # control: the other way round


def test_a_cropped_xray_is_masked_where_it_shows_nothing(seen):
    renderer, pose, direct = seen
    whole = renderer.render(CAMERA, pose)
    image, where = _seen(whole[50:250, 100:350], CAMERA.cropped(50, 100, 200, 250))
    # 400 pixels are 64 of the network's: 100 to 350 are its 16 to 56, 50 to 250 its 8 to 40.
    expected = np.zeros((48, 64), bool)
    expected[8:40, 16:56] = True
    np.testing.assert_array_equal(where, expected)
    inner = np.zeros_like(where)
    inner[9:39, 17:55] = True
    assert _difference(image, direct, inner) < 0.04


def test_masked_pixels_do_not_count(seen):
    renderer, pose, _ = seen
    picture = renderer.render(CAMERA, pose)
    mask = np.ones(picture.shape, bool)
    mask[:, :100] = False
    spoiled = np.where(mask, picture, 50.0).astype(np.float32)
    (a, where), (b, _) = (_seen(p, CAMERA, mask) for p in (picture, spoiled))
    assert not where[:, :15].any() and where[:, 17:].all()
    np.testing.assert_allclose(a[where], b[where], rtol=1e-4)


class _Oracle(PoseReader):
    """Knows the truth of every X-ray, but not exactly: it errs by random turns and shifts."""

    def __init__(self, poses, frame, looks, error, hypotheses=1):
        network = SimpleNamespace(shape=SimpleNamespace(hypotheses=hypotheses))
        super().__init__(network, None, frame, looks)
        self._truth, self._error, self._random = frame.relative(poses), error, np.random.default_rng(5)
        self.asked = []

    def _predict(self, xrays, which, aims):
        turns = aims.turns
        self.asked.append(aims)
        hypotheses = self._network.shape.hypotheses
        rotations, positions = (part[which] for part in self._truth)
        behind = rotations @ np.diag([-1.0, 1.0, -1.0]) @ turns
        rotations = (rotations @ turns)[:, None].repeat(hypotheses, 1)
        positions = np.einsum("nji,nj->ni", turns, positions)[:, None].repeat(hypotheses, 1)
        twists = self._random.normal(size=(*positions.shape[:2], 6)) * self._error
        weights = np.full(positions.shape[:2], 0.1 / max(hypotheses - 1, 1))
        weights[:, -1] = 0.9 if hypotheses > 1 else 1.0
        if hypotheses > 1:  # all but the last are the view from behind
            rotations[:, :-1] = behind[:, None]
        return rotations @ rigid.so3_exp(np.deg2rad(twists[..., :3])), positions + twists[..., 3:], weights


@pytest.fixture
def poses():
    pose_range, frame = oblique_frame()
    return frame, pose_range.sample(np.random.default_rng(0), 12)


@pytest.mark.parametrize("looks", [0, 3])
def test_exact_looks_give_the_exact_pose(poses, looks):
    frame, truth = poses
    reader = _Oracle(truth, frame, looks, 0.0)
    readings = reader.read(range(12))
    np.testing.assert_allclose(readings.poses[:, 0], truth, atol=1e-8)
    np.testing.assert_allclose(readings.weights, 1)
    assert readings.looks.shape == (12, 1, looks, 4, 4)
    for look in range(looks):
        np.testing.assert_allclose(readings.looks[:, 0, look], truth, atol=1e-8)
    assert len(reader.asked) == (1 if looks == 0 else 3 + looks)
    assert (reader.asked[0].turns == np.eye(3)).all() and (reader.asked[0].zooms == 1).all()


def test_looks_are_turned_towards_the_patient_and_their_mean_is_better(poses):
    frame, truth = poses
    reader = _Oracle(truth, frame, 9, np.array([2, 2, 2, 8, 8, 8.0]))
    readings = reader.read(range(12), 10)
    assert readings.poses.shape == (10, 1, 4, 4)
    single = landmark_errors(readings.looks[:, 0].reshape(-1, 4, 4), np.repeat(truth[:10], 9, 0), LANDMARKS)
    mean = landmark_errors(readings.poses[:, 0], truth[:10], LANDMARKS)
    assert np.median(mean) < 0.6 * np.median(single)
    _, positions = frame.relative(truth[:10])
    aside = np.linalg.norm(np.einsum("nji,nj->ni", reader.asked[4].turns, positions)[:, :2], axis=1)
    assert aside.max() < 60 and np.linalg.norm(positions[:, :2], axis=1).max() > 60
    apparent = positions[:, 2] / reader.asked[4].zooms / frame.position[2]
    assert np.abs(np.log(apparent)).max() < 0.1 < np.abs(np.log(positions[:, 2] / frame.position[2])).max()


def test_each_hypothesis_is_followed_by_itself(poses):
    frame, truth = poses
    readings = _Oracle(truth, frame, 2, 0.0, hypotheses=3).read(range(12))
    assert readings.poses.shape == (12, 3, 4, 4)
    np.testing.assert_allclose(readings.poses[:, 2], truth, atol=1e-8)
    behind = truth.copy()
    behind[:, :3, :3] = behind[:, :3, :3] @ np.diag([-1.0, 1.0, -1.0])
    np.testing.assert_allclose(readings.poses[:, 0, :3, :3], behind[:, :3, :3], atol=1e-8)
    np.testing.assert_allclose(readings.weights.sum(1), 1)
    assert (readings.weights.argmax(1) == 2).all()


def test_a_network_reads_the_same_twice_and_in_any_company():
    _, frame = oblique_frame()
    parameterisation = Parameterisation("rotation_6d", "projection", frame)
    torch.manual_seed(0)
    network = PoseEncoder(NetworkShape("patch", (8, 16), parameterisation.outputs, 2)).eval()
    with torch.no_grad():  # an untrained one that is looked with again and again makes much of every rounding
        network.pose.weight.mul_(0.3)
    images = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0))
    camera = CAMERA.resampled(60, 80)
    reader = PoseReader(network, parameterisation, frame, 2)
    whole = reader.read(XRayStack(images, torch.ones_like(images), camera, SMALL))
    again = reader.read(XRayStack(images, torch.ones_like(images), camera, SMALL))
    np.testing.assert_array_equal(whole.poses, again.poses)
    alone = reader.read(XRayStack(images[:1], torch.ones_like(images[:1]), camera, SMALL))
    assert landmark_errors(alone.poses[0], whole.poses[0], LANDMARKS).max() < 0.1
    assert whole.poses.shape == (3, 2, 4, 4) and np.isfinite(whole.poses).all()


def test_a_zoom_is_taken_out_of_the_depth():
    """What a network says it sees in a zoomed camera is as many times as far away."""
    _, frame = oblique_frame()
    parameterisation = Parameterisation("rotation_vector", "projection", frame)
    network = PoseEncoder(NetworkShape("patch", (8, 16), parameterisation.outputs)).eval()
    for parameter in network.pose.parameters():
        torch.nn.init.zeros_(parameter)  # whatever it is shown: the centre pose
    images = torch.rand(2, 48, 64, generator=torch.Generator().manual_seed(0))
    stack = XRayStack(images, torch.ones_like(images), SMALL, SMALL)
    reader = PoseReader(network, parameterisation, frame, 0)
    aims = Aim(np.tile(np.eye(3), (2, 1, 1)), np.array([1.0, 1.25]))
    with torch.no_grad():
        _, positions, _ = reader._predict(stack, np.arange(2), aims)
    np.testing.assert_allclose(positions[0, 0], frame.position, atol=1e-3)
    np.testing.assert_allclose(positions[1, 0], frame.position * [1, 1, 1.25], atol=1e-3)
