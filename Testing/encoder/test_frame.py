"""What poses are given relative to: rotation, and where the isocentre is seen."""

import json

import numpy as np
import pytest
from DiffPoseRegistrationLib.encoder.frame import PoseFrame
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from encoder_scenes import oblique_frame


@pytest.fixture
def placed():
    pose_range, frame = oblique_frame()
    return frame, pose_range.sample(np.random.default_rng(0), 20)


def test_there_and_back(placed):
    frame, poses = placed
    np.testing.assert_allclose(frame.poses(*frame.relative(poses)), poses, atol=1e-9)


def test_position_is_where_the_camera_sees_the_isocentre(placed):
    frame, poses = placed
    rotations, positions = frame.relative(poses)
    for pose, rotation, position in zip(poses, rotations, positions):
        seen = rigid.transform_points(rigid.inverse(pose), frame.isocentre[None])[0]
        np.testing.assert_allclose(position, seen, atol=1e-9)
        np.testing.assert_allclose(frame.centre[:3, :3] @ rotation, pose[:3, :3], atol=1e-12)
    np.testing.assert_allclose(frame.relative(frame.centre[None])[1][0], frame.position)


def test_points_are_seen_through_rotation_and_position(placed):
    frame, poses = placed
    points = np.random.default_rng(1).uniform(-100, 100, (5, 3))
    rotations, positions = frame.relative(poses)
    for pose, rotation, position in zip(poses, rotations, positions):
        expected = rigid.transform_points(rigid.inverse(pose), points)
        np.testing.assert_allclose(frame.points(points) @ rotation + position, expected, atol=1e-9)


def test_a_moved_world_leaves_what_is_seen(placed):
    frame, poses = placed
    motion = rigid.se3_exp(np.array([0.3, -0.2, 0.5, 40.0, -30.0, 20.0]))
    for a, b in zip(frame.relative(poses), frame.moved(motion).relative(motion @ poses)):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_sizes_follow_the_range_in_camera_axes():
    _, frame = oblique_frame()
    np.testing.assert_allclose(np.rad2deg(frame.rotation_rad), [20, 30, 10])
    np.testing.assert_allclose(frame.translation_mm, [60, 40, 120])
    narrow = PoseRange(view_pose("AP", np.zeros(3), 700.0), np.zeros(3), (0, 0, 0), (0, 0, 0))
    assert PoseFrame.of_range(narrow).rotation_rad.min() == pytest.approx(np.deg2rad(1))
    spread = PoseRange(narrow.centre, np.zeros(3), (10, 10, 10), (5, 5, 5), "gaussian")
    np.testing.assert_allclose(PoseFrame.of_range(spread).translation_mm, 5 * np.sqrt(3))


def test_json_round_trip():
    _, frame = oblique_frame()
    again = PoseFrame.from_json(json.loads(json.dumps(frame.to_json())))
    for name in ("centre", "isocentre", "rotation_rad", "translation_mm"):
        np.testing.assert_array_equal(getattr(again, name), getattr(frame, name))


def test_a_centre_that_looks_away_is_refused():
    away = view_pose("AP", np.zeros(3), -700.0)
    with pytest.raises(InputError, match="looks away"):
        PoseFrame.of_range(PoseRange(away, np.zeros(3), (1, 1, 1), (1, 1, 1)))
