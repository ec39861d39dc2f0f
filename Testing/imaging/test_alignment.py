"""One CT laid over another: what was moved is found where it was moved to."""

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.imaging.alignment import Alignment, align, mean_of, thumbnail
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.values import CTVolume

MOTION = rigid.se3_exp(np.array([0.15, -0.2, 0.25, 140.0, -90.0, 260.0]))


@pytest.fixture(scope="module")
def reference():
    return phantom_ct(2, size=(80, 60, 80), spacing=4.0)


def _elsewhere(seed):
    """A patient of another voxel size, turned in its own file's space, and lying elsewhere: an oblique volume."""
    ct = phantom_ct(seed, size=(66, 50, 66), spacing=5.0)
    return CTVolume(ct.hounsfield, MOTION @ ct.ijk_to_ras, f"patient-{seed}")


@pytest.mark.parametrize("seed", [2, 5])
def test_landmarks_are_found_where_they_were_moved_to(reference, seed):
    found = align(reference, _elsewhere(seed))
    expected = rigid.transform_points(MOTION, phantom_landmarks(seed))
    landmarks = phantom_landmarks(2)
    apart = np.linalg.norm(rigid.transform_points(found.motion, landmarks) - expected, axis=1)
    assert np.median(apart) < 12 and found.is_convincing
    assert abs(np.linalg.det(found.motion[:3, :3]) - 1) < 1e-9
    # Control: without alignment, and with one that only lays centres over one another, they are not.
    assert np.linalg.norm(landmarks - expected, axis=1).min() > 100
    shift = expected.mean(axis=0) - landmarks.mean(axis=0)
    assert np.median(np.linalg.norm(landmarks + shift - expected, axis=1)) > 15


def test_the_same_every_time_and_nothing_like_it_is_told(reference):
    ball = np.full((40, 40, 40), -1000.0)
    z, y, x = np.ogrid[-1:1:40j, -1:1:40j, -1:1:40j]
    ball[(np.sqrt(x**2 + y**2) - 0.7) ** 2 + z**2 < 0.02] = 900.0
    ring = CTVolume(ball, np.diag([8.0, 8.0, 8.0, 1.0]), "ring")
    once, again = align(reference, ring), align(reference, ring)
    np.testing.assert_array_equal(once.motion, again.motion)
    assert not once.is_convincing
    with pytest.raises(InputError, match="nothing but air"):
        align(reference, CTVolume(np.full((8, 8, 8), -1000.0) + 5 * np.eye(8), np.diag([9.0, 9.0, 9.0, 1.0]), "empty"))


def test_steps_in_which_volumes_do_not_meet_are_not_told_on_the_terminal(reference, capfd):
    affine = reference.ijk_to_ras.copy()
    affine[:3, 3] += 3e4
    small = np.full((12, 40, 40), -1000.0, np.float32)
    small[5:7, :2, :2] = 1000.0
    align(reference, CTVolume(small, affine, "elsewhere"))
    assert capfd.readouterr() == ("", "") and sitk.ProcessObject.GetGlobalWarningDisplay()


def test_bodies_that_look_unlike_are_laid_mass_on_mass(reference):
    """A small ball is no torso: nothing is turned, and their centres of mass, by numpy, meet."""
    z, y, x = np.mgrid[:30, :32, :34] * 4.0
    ball = np.where((x - 50) ** 2 + (y - 70) ** 2 + (z - 60) ** 2 < 30**2, 200.0, -1000.0).astype(np.float32)
    other = CTVolume(ball, np.diag([4.0, 4.0, 4.0, 1.0]), "ball")
    found = align(reference, other)
    assert not found.is_convincing
    np.testing.assert_array_equal(found.motion[:3, :3], np.eye(3))
    mass = np.maximum(np.minimum(reference.hounsfield, 1000) + 1000, 0)
    kji = [float((mass * axis).sum() / mass.sum()) for axis in np.mgrid[tuple(map(slice, mass.shape))]]
    centre = np.array(kji[::-1])
    mine = reference.ijk_to_ras[:3, :3] @ centre + reference.ijk_to_ras[:3, 3]
    np.testing.assert_allclose(found.motion[:3, 3], np.array([50, 70, 60]) - mine, atol=8)


def test_thumbnail_keeps_place_and_values(reference):
    small = thumbnail(CTVolume(reference.hounsfield, MOTION @ reference.ijk_to_ras, "oblique"))
    assert np.allclose(small.ijk_to_ras[:3, :3], 8 * np.eye(3))
    image = sitk.GetImageFromArray(small.hounsfield)
    image.SetSpacing([8.0] * 3)
    image.SetOrigin(small.ijk_to_ras[:3, 3].tolist())
    middle = _centre_of_mass(small.hounsfield) * 8 + small.ijk_to_ras[:3, 3]
    expected = rigid.transform_points(MOTION @ reference.ijk_to_ras, _centre_of_mass(reference.hounsfield)[None])[0]
    assert np.linalg.norm(middle - expected) < 4
    assert image.EvaluateAtPhysicalPoint(small.ijk_to_ras[:3, 3].tolist()) < -900


def _centre_of_mass(hounsfield):
    """Voxel (i, j, k)."""
    mass = np.maximum(hounsfield, -1000.0).astype(np.float64) + 1000
    return np.array([(np.indices(mass.shape)[axis] * mass).sum() for axis in (2, 1, 0)]) / mass.sum()


def test_the_mean_is_sharp_where_they_are_aligned(reference):
    other = _elsewhere(2)
    small = thumbnail(reference).hounsfield
    found = align(reference, other)
    mean = mean_of(reference, [(other, found)], "mean").hounsfield
    laid_over = np.clip(2 * mean - small, -1000, 1000)
    assert abs(np.corrcoef(laid_over.ravel(), np.clip(small, -1000, 1000).ravel())[0, 1] - found.correlation) < 0.03
    assert np.corrcoef(mean.ravel(), small.ravel())[0, 1] > 0.97
    unaligned = mean_of(reference, [(other, Alignment(np.eye(4), 1.0))], "mean").hounsfield
    assert np.corrcoef(unaligned.ravel(), small.ravel())[0, 1] < 0.95
