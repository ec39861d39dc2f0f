"""Rigid motions against scipy's matrix exponential, matrix logarithm and rotations."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from scipy.linalg import expm, logm
from scipy.spatial.transform import Rotation

# From far below where the series take over (1e-4) to just short of half a turn.
ANGLES = [0.0, 1e-12, 1e-6, 0.99e-4, 1.01e-4, 1e-2, 1.0, 3.0, np.pi - 1e-4, np.pi - 1e-7]


def _axes(count=6):
    axes = np.random.default_rng(3).normal(size=(count, 3))
    axes[0] = 0, 0, 1
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def _twist_matrix(xi):
    """The 4x4 matrix of se(3) whose exponential is the motion, written out from the definition."""
    (x, y, z), v = xi[:3], xi[3:]
    return np.array([[0, -z, y, v[0]], [z, 0, -x, v[1]], [-y, x, 0, v[2]], [0, 0, 0, 0]])


def _motion(seed=0):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    motion[:3, 3] = np.random.default_rng(seed).uniform(-500, 500, 3)
    return motion


@pytest.mark.parametrize("angle", ANGLES)
def test_exponentials_agree_with_scipy(angle):
    for axis in _axes():
        xi = np.array([*(angle * axis), 300.0, -200.0, 50.0])
        expected = expm(_twist_matrix(xi))
        np.testing.assert_allclose(rigid.se3_exp(xi)[:3, :3], expected[:3, :3], atol=1e-13)
        np.testing.assert_allclose(rigid.se3_exp(xi)[:3, 3], expected[:3, 3], atol=1e-8)
        np.testing.assert_allclose(rigid.so3_exp(xi[:3]), Rotation.from_rotvec(xi[:3]).as_matrix(), atol=1e-13)
    # The order matters: translation first would be another motion altogether.
    if 1e-2 < angle < 3:
        assert np.abs(rigid.se3_exp(xi[[3, 4, 5, 0, 1, 2]] / 300) - expected).max() > 1


@pytest.mark.parametrize("angle", ANGLES)
def test_rotation_logarithm_agrees_with_scipy(angle):
    rotation = Rotation.from_rotvec(angle * _axes())
    found = rigid.so3_log(rotation.as_matrix())
    np.testing.assert_allclose(found, rotation.as_rotvec(), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), angle, atol=1e-9)


def test_half_a_turn_has_either_sign():
    for axis in [*np.eye(3), *_axes()]:
        rotation = Rotation.from_rotvec(np.pi * axis).as_matrix()
        found = rigid.so3_log(rotation)
        assert np.linalg.norm(found) == pytest.approx(np.pi)
        np.testing.assert_allclose(rigid.so3_exp(found), rotation, atol=1e-12)


@pytest.mark.parametrize("angle", [a for a in ANGLES if a < 3.1])
def test_motion_logarithm_agrees_with_scipy(angle):
    for axis in _axes():
        xi = np.array([*(angle * axis), 300.0, -200.0, 50.0])
        matrix = np.real(logm(expm(_twist_matrix(xi))))
        expected = np.array([matrix[2, 1], matrix[0, 2], matrix[1, 0], *matrix[:3, 3]])
        np.testing.assert_allclose(rigid.se3_log(expm(_twist_matrix(xi))), expected, atol=2e-6)


@pytest.mark.parametrize("angle", ANGLES)
def test_logarithm_undoes_the_exponential(angle):
    xi = np.concatenate([angle * _axes(), np.random.default_rng(1).uniform(-400, 400, (6, 3))], axis=1)
    found = rigid.se3_log(rigid.se3_exp(xi))
    np.testing.assert_allclose(found[:, :3], xi[:, :3], atol=1e-9)
    np.testing.assert_allclose(found[:, 3:], xi[:, 3:], atol=1e-5)


def test_batches_equal_single_calls():
    xi = np.random.default_rng(2).uniform(-2, 2, (2, 5, 6))
    motions = rigid.se3_exp(xi)
    assert motions.shape == (2, 5, 4, 4)
    np.testing.assert_array_equal(motions[1, 3], rigid.se3_exp(xi[1, 3]))
    np.testing.assert_array_equal(rigid.se3_log(motions)[1, 3], rigid.se3_log(motions[1, 3]))


def test_hat_is_the_cross_product():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3))
    np.testing.assert_allclose(np.einsum("nij,nj->ni", rigid.hat(a), b), np.cross(a, b), atol=1e-15)


def test_inverse():
    motion = _motion()
    np.testing.assert_allclose(rigid.inverse(motion), np.linalg.inv(motion), atol=1e-10)
    np.testing.assert_allclose(rigid.inverse(np.stack([motion, _motion(1)]))[1], np.linalg.inv(_motion(1)), atol=1e-10)


def test_update_turns_about_the_isocentre():
    pose, isocentre = _motion(4), np.array([10.0, 20.0, -400.0])
    xi = np.array([0.0, 0.0, np.pi / 2, 1.0, 2.0, 3.0])
    turned = rigid.update_pose(pose, np.array([0.0, 0.0, np.pi / 2, 0, 0, 0]), isocentre)
    # A quarter turn about the vertical through the isocentre: (x, y) -> (-y, x) from there.
    offset = pose[:3, 3] - isocentre
    np.testing.assert_allclose(turned[:3, 3], isocentre + np.array([-offset[1], offset[0], offset[2]]), atol=1e-9)
    in_camera = [rigid.transform_points(rigid.inverse(p), isocentre[None])[0] for p in (pose, turned)]
    np.testing.assert_allclose(in_camera[0], in_camera[1], atol=1e-9)
    # Control: about the world's origin the isocentre would move by hundreds of millimetres.
    elsewhere = rigid.update_pose(pose, np.array([0.0, 0.0, np.pi / 2, 0, 0, 0]), np.zeros(3))
    moved = rigid.transform_points(rigid.inverse(elsewhere), isocentre[None])[0] - in_camera[0]
    assert np.linalg.norm(moved) > 20
    # With a translation: the definition, by scipy.
    to, back = np.eye(4), np.eye(4)
    to[:3, 3], back[:3, 3] = isocentre, -isocentre
    np.testing.assert_allclose(
        rigid.update_pose(pose, xi, isocentre), to @ expm(_twist_matrix(xi)) @ back @ pose, atol=1e-9
    )


def test_validated_pose_makes_the_rotation_exact():
    motion = _motion()
    rough = np.round(motion, 5)
    pose = rigid.validated_pose(rough.tolist())
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(pose, motion, atol=2e-5)
    np.testing.assert_array_equal(pose[:3, 3], rough[:3, 3])
    assert pose.dtype == np.float64


def _changed(change):
    motion = _motion()
    change(motion)
    return motion


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(3), "shape (3, 3)"),
        (np.stack([np.eye(4)] * 2), "shape"),
        ("abc", "not a matrix of numbers"),
        ([[1, 2], [3]], "not a matrix of numbers"),
        (None, "4x4"),
        (_changed(lambda m: m.__setitem__((0, 3), np.nan)), "not a finite rigid matrix"),
        (_changed(lambda m: m.__setitem__((1, 1), np.inf)), "not a finite rigid matrix"),
        (_changed(lambda m: m.__setitem__((3, 0), 0.1)), "last row 0 0 0 1"),
        (_motion().T, "last row 0 0 0 1"),
        (np.diag([-1.0, 1, 1, 1]), "reflection"),
        (np.diag([-1.0, -1, -1, 1]), "reflection"),
        (np.diag([1.01, 1, 1, 1]), "scales or shears"),
        (np.diag([0.0, 1, 1, 1]), "scales or shears"),
        (_changed(lambda m: m.__setitem__((slice(0, 3), 0), m[:3, 0] + 0.01 * m[:3, 1])), "scales or shears"),
    ],
)
def test_what_is_no_pose_is_refused(matrix, words):
    with pytest.raises(InputError) as refusal:
        rigid.validated_pose(matrix, "The pose in x.json")
    message = str(refusal.value)
    assert message.startswith("The pose in x.json") and words in message and message.endswith(".")
