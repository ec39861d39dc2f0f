"""A camera turned about its source: the same rays in other pixels."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.encoder import aim
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from encoder_scenes import oblique_frame

SEEN_BY = Camera(1500.0, 500, 640, (1.0, 0.9), (300.0, 270.0), "detector")
NETWORK = Camera(1020.0, 30, 40, (10.0, 10.0))


def _turns(count=4):
    return aim.spread(np.random.default_rng(0), count)


def test_pixels_are_where_the_rays_go():
    turns = _turns()
    pixels = aim.seen_pixels(SEEN_BY, NETWORK, turns)
    assert pixels.shape == (4, 30, 40, 2)
    for n, turn in enumerate(turns):
        for row, column in ((0, 0), (29, 39), (12, 30)):
            ray = turn @ NETWORK.pixels_to_camera(np.array([column, row]))
            np.testing.assert_allclose(pixels[n, row, column], SEEN_BY.project(ray), atol=1e-2)


def test_behind_the_source_nothing_is_seen():
    back = rigid.so3_exp(np.array([[0.0, np.pi, 0.0]]))
    assert np.isnan(aim.seen_pixels(SEEN_BY, NETWORK, back)).all()
    assert not aim.covered(SEEN_BY, NETWORK, back).any()


def test_aimed_cameras_see_the_isocentre_on_their_axis_and_upright():
    pose_range, frame = oblique_frame()
    poses = pose_range.sample(np.random.default_rng(1), 30)
    rotations, positions = frame.relative(poses)
    turns = aim.towards(rotations, positions)
    turned = poses.copy()
    turned[:, :3, :3] = turned[:, :3, :3] @ turns
    after, seen_at = frame.relative(turned)
    np.testing.assert_allclose(after, rotations @ turns, atol=1e-9)
    np.testing.assert_allclose(seen_at[:, :2], 0, atol=1e-9)
    np.testing.assert_allclose(seen_at[:, 2], np.linalg.norm(positions, axis=1))
    # Upright: the image's columns lie in the plane of the centre pose's x and z.
    np.testing.assert_allclose(after[:, 1, 0], 0, atol=1e-9)
    assert (after[:, 1, 1] > 0).all()
    # Control: without the turn they do not.
    assert np.abs(positions[:, :2]).max() > 10 and np.abs(rotations[:, 1, 0]).max() > 0.05


def test_covered_is_the_detector_shifted():
    whole = aim.covered(NETWORK, NETWORK, np.eye(3)[None])
    assert whole.all()
    quarter = np.arctan(10 * 10.0 / 1020.0)  # a quarter of the 40 columns
    turned = aim.covered(NETWORK, NETWORK, rigid.so3_exp(np.array([[0.0, quarter, 0.0]])))[0]
    assert turned[15, :28].all() and not turned[15, 32:].any()


@pytest.mark.parametrize("share", [0, 1, 2])
def test_spread_turns_stay_small(share):
    vectors = np.rad2deg(rigid.so3_log(_turns(200)))
    assert np.abs(vectors[:, share]).max() <= aim.SPREAD_DEG[share] * 1.1
    assert vectors[:, share].std() > 0.4 * aim.SPREAD_DEG[share]
