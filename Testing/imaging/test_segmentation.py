"""Labels on the voxels of a CT."""

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.segmentation import read_labels


@pytest.fixture(scope="module")
def ct():
    return phantom_ct(2, size=(40, 30, 40), spacing=8.0)


def _image(values, ct, factor=1):
    """A labelmap on the CT's grid; ``factor`` finer."""
    image = sitk.GetImageFromArray(np.kron(values, np.ones((factor,) * 3)).astype(np.uint8))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    image.SetSpacing(spacing / factor)
    half_voxel = (lps[:3, :3] @ np.full(3, 0.5)) * (1 - 1 / factor)
    image.SetOrigin(lps[:3, 3] - half_voxel)
    return image


@pytest.mark.parametrize("factor", [1, 2])
def test_labels_come_onto_the_cts_voxels(ct, tmp_path, factor):
    labels = (ct.hounsfield > 250).astype(int) * (1 + (np.indices(ct.hounsfield.shape)[2] > 20))
    sitk.WriteImage(_image(labels, ct, factor), str(tmp_path / "labels.nrrd"))
    found = read_labels(tmp_path / "labels.nrrd", ct)
    np.testing.assert_array_equal(found, labels)
    shifted = _image(labels, ct, factor)
    shifted.SetOrigin(np.array(shifted.GetOrigin()) + np.array([8.0, 0, 0]))
    sitk.WriteImage(shifted, str(tmp_path / "shifted.nrrd"))
    assert (read_labels(tmp_path / "shifted.nrrd", ct) != labels).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: sitk.Cast(image, sitk.sitkFloat32) + 0.5, "whole numbers"),
        (lambda image: image * 0, "None of the structures"),
        (lambda image: image[:, :, 3], "3D image"),
    ],
)
def test_what_is_no_segmentation_of_it_is_refused(ct, tmp_path, change, words):
    image = change(_image((ct.hounsfield > 250).astype(int), ct))
    sitk.WriteImage(image, str(tmp_path / "labels.mha"))
    with pytest.raises(InputError, match=words):
        read_labels(tmp_path / "labels.mha", ct)


def test_a_missing_or_damaged_file_is_named(ct, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_labels(tmp_path / "nowhere.nrrd", ct)
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\nnothing")
    with pytest.raises(InputError, match=r"broken\.nrrd"):
        read_labels(tmp_path / "broken.nrrd", ct)
