"""A camera turned about its source and zoomed: the same rays in other pixels."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.encoder import aim
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from encoder_scenes import oblique_frame

SEEN_BY = Camera(1500.0, 500, 640, (1.0, 0.9), (300.0, 270.0), "detector")
NETWORK = Camera(1020.0, 30, 40, (10.0, 10.0))


def _aims(count=4):
    return aim.spread(np.random.default_rng(0), count)


def test_pixels_are_where_the_rays_go():
    aims = _aims().then(aim.Aim(np.eye(3)[None], np.array([1.3])))
    pixels = aim.seen_pixels(SEEN_BY, NETWORK, aims)
    assert pixels.shape == (4, 30, 40, 2)
    for n in range(4):
        for row, column in ((0, 0), (29, 39), (12, 30)):
            ray = aims.turns[n] @ NETWORK.zoomed(aims.zooms[n]).pixels_to_camera(np.array([column, row]))
            np.testing.assert_allclose(pixels[n, row, column], SEEN_BY.project(ray), atol=1e-2)
            without = aims.turns[n] @ NETWORK.pixels_to_camera(np.array([column, row]))
            assert np.abs(pixels[n, row, column] - SEEN_BY.project(without)).max() > 5  # control: not zoomed


def test_behind_the_source_nothing_is_seen():
    back = aim.Aim(rigid.so3_exp(np.array([[0.0, np.pi, 0.0]])), np.ones(1))
    assert np.isnan(aim.seen_pixels(SEEN_BY, NETWORK, back)).all()
    assert not aim.covered(SEEN_BY, NETWORK, back).any()


def test_aimed_cameras_see_the_isocentre_on_their_axis_upright_and_of_one_size():
    pose_range, frame = oblique_frame()
    poses = pose_range.sample(np.random.default_rng(1), 30)
    rotations, positions = frame.relative(poses)
    turns, zooms = aim.towards(rotations, positions, 700.0)
    turned = poses.copy()
    turned[:, :3, :3] = turned[:, :3, :3] @ turns
    after, seen_at = frame.relative(turned)
    np.testing.assert_allclose(after, rotations @ turns, atol=1e-9)
    np.testing.assert_allclose(seen_at[:, :2], 0, atol=1e-9)
    np.testing.assert_allclose(seen_at[:, 2], np.linalg.norm(positions, axis=1))
    # A sphere about the isocentre, of 10 mm, is as large as if it were 700 mm away.
    beside = seen_at + np.array([10.0, 0, 0])
    columns = np.array([NETWORK.zoomed(zoom).project(point)[0] for zoom, point in zip(zooms, beside)])
    np.testing.assert_allclose(columns, NETWORK.project(np.array([10.0, 0, 700]))[0])
    assert np.ptp(NETWORK.project(beside)[:, 0]) > 0.05  # control: without zoom it is not
    # Upright: the image's columns lie in the plane of the centre pose's x and z.
    np.testing.assert_allclose(after[:, 1, 0], 0, atol=1e-9)
    assert (after[:, 1, 1] > 0).all()
    # Control: without the turn they do not.
    assert np.abs(positions[:, :2]).max() > 10 and np.abs(rotations[:, 1, 0]).max() > 0.05


def test_covered_is_the_detector_shifted():
    whole = aim.covered(NETWORK, NETWORK, aim.straight(1))
    assert whole.all()
    quarter = np.arctan(10 * 10.0 / 1020.0)  # a quarter of the 40 columns
    turn = aim.Aim(rigid.so3_exp(np.array([[0.0, quarter, 0.0]])), np.ones(1))
    turned = aim.covered(NETWORK, NETWORK, turn)[0]
    assert turned[15, :28].all() and not turned[15, 32:].any()
    # From half as near a quarter of the pixels sees all of it.
    away = aim.covered(NETWORK, NETWORK, aim.Aim(np.eye(3)[None], np.array([0.5])))[0]
    assert away.mean() == pytest.approx(0.25, abs=0.03) and away[15, 20]


def test_the_zoom_of_a_hopeless_reading_is_bounded():
    zooms = aim.towards(np.tile(np.eye(3), (2, 1, 1)), np.array([[0, 0, 1.0], [0, 0, 1e5]]), 700.0).zooms
    np.testing.assert_array_equal(zooms, [0.5, 2.0])


@pytest.mark.parametrize("share", [0, 1, 2])
def test_spread_turns_stay_small(share):
    turns, zooms = _aims(200)
    vectors = np.rad2deg(rigid.so3_log(turns))
    assert np.abs(np.log(zooms)).max() <= aim.SPREAD_ZOOM < 3 * np.log(zooms).std()
    assert np.abs(vectors[:, share]).max() <= aim.SPREAD_DEG[share] * 1.1
    assert vectors[:, share].std() > 0.4 * aim.SPREAD_DEG[share]
