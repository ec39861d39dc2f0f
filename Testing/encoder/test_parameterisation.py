"""From network outputs to poses, against scipy's rotations, se(3) and the camera."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.parameterisation import ROTATIONS, TRANSLATIONS, Parameterisation
from DiffPoseRegistrationLib.encoder.rigid_torch import se3_log, so3_log
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from encoder_scenes import CAMERA, oblique_frame
from scipy.spatial.transform import Rotation

PAIRS = [(r, t) for r in ROTATIONS for t in TRANSLATIONS if t != "tangent" or r == "rotation_vector"]


def _raw(outputs, seed=0, size=0.7):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-size, size, (6, outputs)))


@pytest.mark.parametrize(("rotation", "translation"), PAIRS)
def test_zeros_are_the_centre_and_anything_is_a_pose(rotation, translation):
    _, frame = oblique_frame()
    pose_of = Parameterisation(rotation, translation, frame)
    centre = pose_of(torch.zeros(1, pose_of.outputs, dtype=torch.float64))
    np.testing.assert_allclose(frame.poses(*(p.numpy() for p in centre))[0], frame.centre, atol=1e-4)
    raw = (3 * _raw(pose_of.outputs)).requires_grad_()
    seen = pose_of(raw)
    unit = (seen.rotation.transpose(1, 2) @ seen.rotation).detach().numpy()
    np.testing.assert_allclose(unit, np.tile(np.eye(3), (6, 1, 1)), atol=1e-9)
    assert (torch.linalg.det(seen.rotation) > 0).all()
    # Many hypotheses at once are as each alone.
    many = pose_of(raw.reshape(2, 3, -1))
    torch.testing.assert_close(many.rotation.reshape(6, 3, 3), seen.rotation)
    torch.testing.assert_close(many.position.reshape(6, 3), seen.position)
    (seen.rotation.sum() + seen.position.sum()).backward()
    assert torch.isfinite(raw.grad).all() and (raw.grad.abs().sum(1) > 0).all()


def test_rotation_vector_is_scipys_in_units_of_the_frame():
    _, frame = oblique_frame()
    raw = _raw(6)
    found = Parameterisation("rotation_vector", "camera", frame)(raw)
    expected = Rotation.from_rotvec(raw[:, :3].numpy() * frame.rotation_rad).as_matrix()
    np.testing.assert_allclose(found.rotation, expected, atol=1e-6)
    np.testing.assert_allclose(found.position, frame.position + raw[:, 3:].numpy() * frame.translation_mm, rtol=1e-5)


def test_quaternion_adjugate_undoes_the_outer_product():
    _, frame = oblique_frame()
    pose_of = Parameterisation("quaternion_adjugate", "camera", frame)
    turns = Rotation.random(50, np.random.default_rng(0))
    x, y, z, w = turns.as_quat().T
    q = np.stack([w, x, y, z], axis=1)
    outer = np.einsum("ni,nj->nij", q, q)
    rows, columns = np.triu_indices(4)
    raw = np.zeros((50, 13))
    raw[:, :10] = 2.5 * outer[:, rows, columns]  # its size does not matter
    raw[:, 0] -= 1.0  # zeros stand for the identity
    found = pose_of(torch.from_numpy(raw)).rotation.numpy()
    np.testing.assert_allclose(found, turns.as_matrix(), atol=1e-9)


def test_six_numbers_give_back_the_columns():
    _, frame = oblique_frame()
    turns = Rotation.random(50, np.random.default_rng(0)).as_matrix()
    raw = np.zeros((50, 9))
    raw[:, :3] = 1.7 * turns[:, :, 0] - [1, 0, 0]
    raw[:, 3:6] = 0.4 * turns[:, :, 1] + turns[:, :, 0] - [0, 1, 0]
    found = Parameterisation("rotation_6d", "camera", frame)(torch.from_numpy(raw)).rotation.numpy()
    np.testing.assert_allclose(found, turns, atol=1e-9)


def test_tangent_is_the_motion_of_se3_about_the_isocentre():
    _, frame = oblique_frame()
    raw = _raw(6)
    found = Parameterisation("rotation_vector", "tangent", frame)(raw)
    axes = frame.centre[:3, :3]
    for n, numbers in enumerate(raw.numpy()):
        twist = np.concatenate([axes @ (numbers[:3] * frame.rotation_rad), axes @ (numbers[3:] * frame.translation_mm)])
        expected = rigid.update_pose(frame.centre, twist, frame.isocentre)
        pose = frame.poses(found.rotation.numpy(), found.position.numpy())[n]
        np.testing.assert_allclose(pose, expected, atol=1e-3)


def test_projection_shifts_the_image_and_scales_it():
    """Equal steps of the numbers are equal steps in the image, and equal ratios of the distance."""
    _, frame = oblique_frame()
    raw = torch.zeros(3, 6, dtype=torch.float64)
    raw[:, 3], raw[:, 5] = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0.5, 0.5, 0.5])
    seen = Parameterisation("rotation_vector", "projection", frame)(raw).position.numpy()
    pixels = CAMERA.project(seen)
    shift = frame.translation_mm[0] * 1020 / frame.position[2]
    np.testing.assert_allclose(np.diff(pixels, axis=0), [[shift, 0]] * 2, rtol=1e-5, atol=1e-4)
    raw = torch.zeros(3, 6, dtype=torch.float64)
    raw[:, 5] = torch.tensor([-1.0, 0.0, 1.0])
    depth = Parameterisation("rotation_vector", "projection", frame)(raw).position.numpy()[:, 2]
    np.testing.assert_allclose(depth[1:] / depth[:-1], np.exp(120 / frame.position[2]), rtol=1e-6)


def test_logarithms_are_those_of_numpy():
    twists = np.random.default_rng(0).normal(size=(40, 6)) * [0.8, 0.8, 0.8, 50, 50, 50]
    twists[0] = 0
    motions = torch.from_numpy(rigid.se3_exp(twists))
    np.testing.assert_allclose(so3_log(motions[:, :3, :3]), rigid.so3_log(motions[:, :3, :3].numpy()), atol=1e-5)
    found = se3_log(motions[:, :3, :3], motions[:, :3, 3])
    np.testing.assert_allclose(found, rigid.se3_log(motions.numpy()), atol=1e-3)


@pytest.mark.parametrize(
    "names", [("euler", "camera"), ("rotation_6d", "polar"), ("rotation_6d", "tangent")], ids=lambda n: n[1]
)
def test_what_is_not_there_is_refused(names):
    with pytest.raises(InputError, match=r"rotation_vector|projection"):
        Parameterisation(*names, oblique_frame()[1])
