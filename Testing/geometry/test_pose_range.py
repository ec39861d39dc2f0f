"""Named views, ranges of poses and disturbed poses, by hand and against scipy's rotations."""

import json

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import VIEWS, PoseRange, perturbed, view_pose
from scipy.spatial.transform import Rotation

ISOCENTRE = np.array([10.0, -20.0, 300.0])
RIGHT, FRONT, HEAD = np.eye(3)
WHERE = {"AP": FRONT, "PA": -FRONT, "LL": -RIGHT, "RL": RIGHT}  # of the patient, the source stands


def _pixel(pose, point, viewed_from="source"):
    camera = Camera(1020.0, 500, 500, (1.0, 1.0), viewed_from=viewed_from)
    return camera.project(rigid.transform_points(rigid.inverse(pose), np.asarray(point)[None]))[0]


@pytest.mark.parametrize("view", VIEWS)
def test_views(view):
    pose = view_pose(view, ISOCENTRE, 700.0)
    np.testing.assert_allclose(pose[:3, 3], ISOCENTRE + 700 * WHERE[view])  # the source
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3))
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    centre = _pixel(pose, ISOCENTRE)
    np.testing.assert_allclose(centre, [249.5, 249.5])
    # Towards the feet is down in the picture, straight.
    np.testing.assert_allclose(_pixel(pose, ISOCENTRE - 10 * HEAD) - centre, [0, 10 * 1020 / 700], atol=1e-9)


@pytest.mark.parametrize(
    ("view", "viewed_from", "direction"),
    [
        ("AP", "source", -RIGHT),  # facing the patient, the patient's left is at the right
        ("AP", "detector", RIGHT),
        ("PA", "source", RIGHT),
        ("PA", "detector", -RIGHT),  # a C-arm with its tube under the table, as displayed
        ("LL", "source", -FRONT),
        ("RL", "source", FRONT),
    ],
)
def test_what_is_at_the_right_of_the_picture(view, viewed_from, direction):
    pose = view_pose(view, ISOCENTRE, 700.0)
    moved = _pixel(pose, ISOCENTRE + 10 * direction, viewed_from) - _pixel(pose, ISOCENTRE, viewed_from)
    np.testing.assert_allclose(moved, [10 * 1020 / 700, 0], atol=1e-9)


def test_the_shared_cases_are_about_ap(shared):
    for file in sorted((shared / "cases").glob("*/truth.json")):
        truth = json.loads(file.read_text(encoding="utf-8"))
        pose, centre = np.array(truth["camera_to_world_ras_mm"]), np.mean(truth["landmarks_ras_mm"], axis=0)
        off = {view: Rotation.from_matrix(pose[:3, :3].T @ view_pose(view, centre, 700)[:3, :3]) for view in VIEWS}
        angles = {view: np.rad2deg(rotation.magnitude()) for view, rotation in off.items()}
        assert angles["AP"] < 60 and min(angles, key=angles.get) == "AP"


def test_unknown_view_is_refused():
    with pytest.raises(InputError, match="'ap' is not known; choose one of AP, PA, LL, RL"):
        view_pose("ap", ISOCENTRE, 700.0)


def _range(rotation=(30, 20, 10), translation=(60, 120, 40), view="AP"):
    return PoseRange(view_pose(view, ISOCENTRE, 700.0), ISOCENTRE, rotation, translation)


def test_a_quarter_turn_of_the_primary_angle_leads_from_view_to_view():
    quarter = np.array([90.0, 0, 0, 0, 0, 0])
    for view, following in (("AP", "RL"), ("RL", "PA"), ("PA", "LL"), ("LL", "AP")):
        expected = view_pose(following, ISOCENTRE, 700.0)
        np.testing.assert_allclose(_range(view=view).pose(quarter), expected, atol=1e-9)
        assert np.abs(_range(view=view).pose(-quarter) - expected).max() > 1  # the other way leads elsewhere


def test_translations_are_across_along_and_up_down():
    pose_range = _range()
    for column, axis in ((3, 0), (4, 2), (5, 1)):  # the camera's x, z, y
        coordinates = np.zeros(6)
        coordinates[column] = 25.0
        moved = pose_range.pose(coordinates)
        np.testing.assert_allclose(moved[:3, :3], pose_range.centre[:3, :3], atol=1e-15)
        step = pose_range.centre[:3, :3].T @ (moved - pose_range.centre)[:3, 3]
        np.testing.assert_allclose(step, 25.0 * np.eye(3)[axis], atol=1e-9)


def test_poses_are_the_products_that_the_docstring_states():
    pose_range = _range()
    coordinates = np.array([12.0, -8.0, 25.0, 7.0, -30.0, 4.0])
    axes = pose_range.centre[:3, :3]
    turn = axes @ Rotation.from_euler("YXZ", coordinates[:3], degrees=True).as_matrix() @ axes.T
    expected = np.eye(4)
    expected[:3, :3] = turn @ axes
    arm = turn @ (pose_range.centre[:3, 3] - ISOCENTRE)
    expected[:3, 3] = ISOCENTRE + arm + axes @ coordinates[[3, 5, 4]]
    np.testing.assert_allclose(pose_range.pose(coordinates), expected, atol=1e-9)
    several = pose_range.pose(np.stack([coordinates, coordinates * 0]))
    np.testing.assert_allclose(several, np.stack([expected, pose_range.centre]), atol=1e-9)
    other_order = Rotation.from_euler("ZXY", coordinates[[2, 1, 0]], degrees=True).as_matrix()
    assert np.abs(axes @ other_order @ axes.T - turn).max() > 0.01


def test_samples_stay_in_the_range_and_fill_it():
    pose_range = _range(rotation=(30, 20, 10), translation=(60, 120, 40))
    poses = pose_range.sample(np.random.default_rng(0), 500)
    axes = pose_range.centre[:3, :3]
    angles = Rotation.from_matrix(axes.T @ poses[:, :3, :3]).as_euler("YXZ", degrees=True)
    assert poses.shape == (500, 4, 4)
    shift = (poses[:, :3, 3] - ISOCENTRE) - np.einsum("nij,j->ni", poses[:, :3, :3], [0, 0, -700.0])
    reach = np.abs(np.concatenate([angles, (shift @ axes)[:, [0, 2, 1]]], axis=1)).max(axis=0)
    half = np.array([30, 20, 10, 60, 120, 40.0])
    assert (reach <= half * (1 + 1e-9)).all() and (reach > 0.97 * half).all()
    np.testing.assert_array_equal(poses, pose_range.sample(np.random.default_rng(0), 500))


def test_range_round_trip_and_refusals():
    pose_range = _range()
    read = PoseRange.from_json(json.loads(json.dumps(pose_range.to_json())))
    np.testing.assert_array_equal(read.centre, pose_range.centre)
    np.testing.assert_array_equal(read.isocentre, ISOCENTRE)
    assert (read.rotation_deg, read.translation_mm) == (pose_range.rotation_deg, pose_range.translation_mm)
    for rotation, translation, words in (
        ((30, 20), (1, 1, 1), "rotation_deg"),
        ((30, 20, -1), (1, 1, 1), "rotation_deg"),
        ((30, 20, 181), (1, 1, 1), "rotation_deg"),
        ((30, 20, 1), (1, float("nan"), 1), "translation_mm"),
        ((30, 20, 1), (1, 1e9, 1), "translation_mm"),
    ):
        with pytest.raises(InputError, match=words):
            _range(rotation, translation)
    with pytest.raises(InputError, match="reflection"):
        PoseRange(np.diag([-1.0, 1, 1, 1]), ISOCENTRE, (1, 1, 1), (1, 1, 1))


def test_perturbed_stays_within_its_bounds_and_reaches_them():
    pose = _range().pose(np.array([10.0, 5, 3, 20, 30, 10]))
    random = np.random.default_rng(0)
    seen = []
    for _ in range(400):
        other = perturbed(pose, ISOCENTRE, 15.0, 30.0, random)
        motion = other @ np.linalg.inv(pose)  # in the world
        turn = pose[:3, :3].T @ motion[:3, :3] @ pose[:3, :3]
        shift = pose[:3, :3].T @ (motion[:3, :3] @ ISOCENTRE + motion[:3, 3] - ISOCENTRE)  # what the isocentre does
        seen.append([*Rotation.from_matrix(turn).as_rotvec(degrees=True), *shift])
    reach = np.abs(seen).max(axis=0)
    assert (reach <= np.array([15] * 3 + [30] * 3) + 1e-9).all() and (reach > np.array([14] * 3 + [28] * 3)).all()
    assert np.abs(np.mean(seen, axis=0)).max() < 3  # to either side alike
    np.testing.assert_allclose(perturbed(pose, ISOCENTRE, 0, 0, random), pose, atol=1e-9)
    same = [perturbed(pose, ISOCENTRE, 15, 30, np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(*same)


def test_gaussian_poses_spread_on_the_tangent_space():
    centre = view_pose("LL", ISOCENTRE, 700.0)
    spread = PoseRange(centre, ISOCENTRE, (10, 5, 2), (20, 40, 10), "gaussian")
    poses = spread.sample(np.random.default_rng(0), 5000)
    motions = rigid.about_point(poses @ rigid.inverse(centre), -ISOCENTRE)
    twists = rigid.se3_log(motions)
    axes = centre[:3, :3]
    np.testing.assert_allclose(np.rad2deg((twists[:, :3] @ axes).std(axis=0)), [5, 10, 2], rtol=0.05)
    np.testing.assert_allclose((twists[:, 3:] @ axes).std(axis=0), [20, 10, 40], rtol=0.05)
    assert PoseRange.from_json(spread.to_json()).distribution == "gaussian"
    np.testing.assert_allclose(spread.half_ranges()[1], np.sqrt(3) * np.array([20, 40, 10]))


def test_a_range_holds_what_is_drawn_from_it_and_not_what_is_wider():
    centre = view_pose("AP", ISOCENTRE, 700.0)
    narrow = PoseRange(centre, ISOCENTRE, (30, 20, 10), (60, 120, 40))
    assert all(narrow.holds(pose) for pose in narrow.sample(np.random.default_rng(0), 200))
    for axis in range(6):
        just_out = np.zeros(6)
        just_out[axis] = 1.02 * [30, 20, 10, 60, 120, 40][axis]
        assert not narrow.holds(narrow.pose(just_out)) and narrow.holds(narrow.pose(just_out / 1.03))


def test_an_unknown_distribution_is_refused():
    with pytest.raises(InputError, match="uniform or gaussian"):
        PoseRange(view_pose("AP", ISOCENTRE, 700.0), ISOCENTRE, (1, 1, 1), (1, 1, 1), "normal")
