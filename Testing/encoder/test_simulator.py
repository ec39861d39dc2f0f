"""Training images and where they say they were taken from."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.encoder import aim
from DiffPoseRegistrationLib.encoder.simulator import TrainingSimulator, has_content, network_camera
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from encoder_scenes import CAMERA, range_of, small_ct


@pytest.fixture(scope="module")
def ct():
    return small_ct()


def _simulator(ct, **options):
    return TrainingSimulator(ct, CAMERA, range_of(ct), side=32, bone_contrasts=(0.033, 0.065), **options)


def test_network_camera_sees_the_same_detector():
    small = network_camera(CAMERA)
    assert (small.rows, small.columns) == (48, 64)
    assert small.rows * small.pixel_spacing_mm[0] == pytest.approx(300)
    narrow = network_camera(Camera(1000, 4000, 20, (1, 1)))
    assert (narrow.rows, narrow.columns) == (64, 8)


@pytest.mark.parametrize("aimed_share", [0.0, 1.0])
def test_images_and_poses_belong_together(ct, aimed_share):
    simulator = _simulator(ct, aimed_share=aimed_share)
    batch = simulator.batch(np.random.default_rng(0), 6, 1)
    assert batch.images.shape == (6, 24, 32) and batch.images.dtype == np.float32 and batch.contrast == 1
    poses = simulator.frame.poses(batch.rotations, batch.positions)
    for image, pose, zoom in zip(batch.images, poses, batch.zooms):
        expected = simulator.renderers[1].render(simulator.camera.zoomed(zoom), pose, simulator.level)
        np.testing.assert_allclose(image, expected, atol=1e-3)
    assert has_content(batch.images * batch.covered).all()
    # Every batch has another contrast of bone.
    other = simulator.renderers[0].render_batch(simulator.camera, poses, simulator.level, batch.zooms)
    assert np.abs(other - batch.images).max() > 0.05
    repeated = simulator.batch(np.random.default_rng(0), 6, 1)
    np.testing.assert_array_equal(repeated.images, batch.images)
    assert batch.covered.all() == (batch.zooms == 1).all() == (aimed_share == 0)


def test_aimed_images_show_the_isocentre_near_the_middle_in_one_size_and_what_the_detector_covered(ct):
    simulator = _simulator(ct, aimed_share=1.0)
    batch = simulator.batch(np.random.default_rng(0), 20)
    aside = np.rad2deg(np.arctan2(np.linalg.norm(batch.positions[:, :2], axis=1), batch.positions[:, 2]))
    assert aside.max() < 1.1 * np.linalg.norm(aim.SPREAD_DEG[:2])
    apparent = batch.positions[:, 2] / batch.zooms / simulator.frame.position[2]
    assert np.abs(np.log(apparent)).max() < 1.2 * aim.SPREAD_ZOOM
    plain = _simulator(ct).batch(np.random.default_rng(0), 20)
    assert np.rad2deg(np.arctan2(np.linalg.norm(plain.positions[:, :2], axis=1), plain.positions[:, 2])).max() > 4
    # What a turned camera shows of a detector is a tilted rectangle: convex, with most of the image.
    assert 0.4 < batch.covered.mean() < 0.98
    assert np.abs(np.log(plain.positions[:, 2] / simulator.frame.position[2])).max() > 1.4 * aim.SPREAD_ZOOM
    half = _simulator(ct, aimed_share=0.5).batch(np.random.default_rng(0), 40)
    assert 8 < half.covered.all(axis=(1, 2)).sum() < 32


def test_jitter_is_not_told(ct):
    plain, jittered = _simulator(ct), _simulator(ct, distance_jitter=0.05, principal_point_jitter_px=2.0)
    a, b = (simulator.batch(np.random.default_rng(0), 4) for simulator in (plain, jittered))
    np.testing.assert_array_equal(a.positions, b.positions)
    assert np.abs(a.images - b.images).mean() > 0.02 * a.images.std()
    # Measured on without it.
    np.testing.assert_array_equal(*(s.at_side(32).batch(np.random.default_rng(0), 4).images for s in (plain, jittered)))


def test_poses_that_miss_the_body_are_drawn_again(ct):
    wide = TrainingSimulator(ct, CAMERA, range_of(ct, translation=(400, 0, 400)), side=32)
    batch = wide.batch(np.random.default_rng(0), 60)
    poses = wide.pose_range.sample(np.random.default_rng(0), 60)
    drawn_once = has_content(wide.renderers[0].render_batch(wide.camera, poses, wide.level))
    assert drawn_once.mean() < 0.7 < has_content(batch.images).mean()


def test_content_is_a_tenth_of_the_image():
    images = np.zeros((2, 10, 10), np.float32)
    images[0, 0] = 1.0
    images[1, 0, :9] = 1.0
    assert has_content(images).tolist() == [True, False]


def test_range_that_misses_the_ct_is_refused(ct):
    beside = ct.centre_ras + np.array([1500.0, 0, 0])
    away = PoseRange(view_pose("AP", beside, 720.0), beside, (5, 5, 5), (5, 5, 5))
    with pytest.raises(InputError, match="phantom-2 projects into the image from only 0%"):
        TrainingSimulator(ct, CAMERA, away, side=32).require_content(np.random.default_rng(0))
