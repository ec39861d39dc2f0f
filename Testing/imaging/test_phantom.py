"""The generated CT: Hounsfield units, anatomy where its landmarks say, unlike sides."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks


@pytest.fixture(scope="module")
def ct():
    return phantom_ct()


def test_is_a_ct_in_hounsfield_units():
    ct = phantom_ct(seed=1)
    assert ct.size_ijk == (160, 120, 160)
    np.testing.assert_allclose(ct.spacing_mm, 2.0)
    assert ct.hounsfield.min() == -1000
    assert 1000 < ct.hounsfield.max() < 2500
    soft = (ct.hounsfield > -20) & (ct.hounsfield < 120)
    bone = ct.hounsfield > 250
    assert 0.3 < soft.mean() < 0.7
    assert 0.01 < bone.mean() < 0.06


def _nearest_bone_mm(ct, points):
    k, j, i = np.nonzero(ct.hounsfield > 220)
    bone = np.stack([i, j, k], axis=1) @ ct.ijk_to_ras[:3, :3].T + ct.ijk_to_ras[:3, 3]
    return np.array([np.linalg.norm(bone - p, axis=1).min() for p in points])


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_landmarks_lie_on_bone(seed):
    ct, landmarks = phantom_ct(seed), phantom_landmarks(seed)
    assert landmarks.shape == (20, 3)
    assert _nearest_bone_mm(ct, landmarks).max() < 4
    # Control: landmarks moved by a finger's breadth lie beside the bone.
    assert np.median(_nearest_bone_mm(ct, landmarks + np.array([0, 60, 0]))) > 4


def test_is_not_symmetric(ct):
    bone = np.clip(ct.hounsfield, 150, 2000) - 150
    mirrored = bone[:, :, ::-1]
    difference = np.abs(bone - mirrored).sum() / (bone.sum() + mirrored.sum())
    assert difference > 0.4
    half = bone.shape[2] // 2
    assert abs(bone[:, :, :half].sum() / bone[:, :, half:].sum() - 1) > 0.1


def test_seed_decides_everything_and_grids_agree(ct):
    assert phantom_ct(seed=0).fingerprint == ct.fingerprint
    assert phantom_ct(seed=1).fingerprint != ct.fingerprint
    coarse = phantom_ct(seed=0, size=(80, 60, 80), spacing=4.0)
    np.testing.assert_allclose(coarse.centre_ras, ct.centre_ras, atol=1e-9)
    blocks = ct.hounsfield.reshape(80, 2, 60, 2, 80, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(blocks.ravel(), coarse.hounsfield.ravel())[0, 1] > 0.98
