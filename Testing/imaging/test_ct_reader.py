"""CT files: positions against SimpleITK and DICOM's own formula, and every kind of unfit file."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_ct_series
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct

LPS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def hounsfield() -> np.ndarray:
    """Voxels [k, j, i] of air with a graded, asymmetric body, int16."""
    k, j, i = np.mgrid[:7, :8, :9]
    return np.where((i > 2) & (j > 1), 40 + 100 * k + 10 * j + i, -1000).astype(np.int16)


def oblique_image(array: np.ndarray) -> sitk.Image:
    """An oblique, anisotropic, left-handed image of ``array``."""
    image = sitk.GetImageFromArray(array)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.3, -0.2, 0.5)
    direction = np.array(turn.GetMatrix()).reshape(3, 3) @ np.diag([1, 1, -1])
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing((0.7, 1.1, 2.5))
    image.SetOrigin((12.0, -34.0, 56.0))
    return image


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha", ".mhd", ".nii"])
@pytest.mark.parametrize("folder", ["plain", "Größe 測定"])
def test_oblique_volume_lies_where_simpleitk_puts_it(tmp_path, hounsfield, suffix, folder):
    image = oblique_image(hounsfield)
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / f"ct{suffix}"
    sitk.WriteImage(image, str(path))

    volume = read_ct(path)

    np.testing.assert_array_equal(volume.hounsfield, np.maximum(hounsfield, -1024))
    for index in [(0, 0, 0), (8, 7, 6), (3, 5, 2)]:
        expected = LPS @ image.TransformIndexToPhysicalPoint(index)
        found = (volume.ijk_to_ras @ [*index, 1])[:3]
        np.testing.assert_allclose(found, expected, atol=1e-3)  # NIfTI stores float32
        misposed = image.TransformIndexToPhysicalPoint(index)  # LPS taken for RAS
        assert np.linalg.norm(found - misposed) > 1


def test_dicom_folder_in_order_of_position(tmp_path, hounsfield):
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.1, 0.2, -0.3)
    axes = np.array(turn.GetMatrix()).reshape(3, 3)
    row_direction, column_direction, normal = axes.T  # along columns, along rows, of the slices
    first = np.array([-50.0, 20.0, -300.0])
    positions = first + np.arange(7)[:, None] * 2.5 * normal
    write_ct_series(
        tmp_path / "série", hounsfield, positions, np.stack([row_direction, column_direction]), (1.25, 0.75)
    )
    (tmp_path / "série" / "notes.txt").write_text("not DICOM")

    volume = read_ct(tmp_path / "série")

    np.testing.assert_array_equal(volume.hounsfield, hounsfield)
    i, j, k = 4, 6, 5
    # DICOM PS3.3 C.7.6.2.1.1: position + column index * column spacing * row direction + ...
    expected = LPS @ (positions[k] + i * 0.75 * row_direction + j * 1.25 * column_direction)
    np.testing.assert_allclose((volume.ijk_to_ras @ [i, j, k, 1])[:3], expected, atol=1e-4)
    swapped = LPS @ (positions[k] + i * 1.25 * row_direction + j * 0.75 * column_direction)
    assert np.linalg.norm((volume.ijk_to_ras @ [i, j, k, 1])[:3] - swapped) > 1


def test_largest_of_several_series_is_taken_and_named(tmp_path, hounsfield, caplog):
    axial, up = np.eye(3)[:2], np.array([0, 0, 2.0])
    write_ct_series(tmp_path / "d", hounsfield, np.arange(7)[:, None] * up, axial, (1, 1), 3, "bone")
    write_ct_series(tmp_path / "d", hounsfield[:3], np.arange(3)[:, None] * up, axial, (1, 1), 4, "scout")
    write_ct_series(tmp_path / "d", hounsfield, np.arange(7)[:, None] * up, axial, (1, 1), 5, "MR", modality="MR")
    volume = read_ct(tmp_path / "d")
    assert volume.size_ijk == (9, 8, 7)
    assert "series 3, bone" in volume.name
    assert "2 CT series" in caplog.text and "bone" in caplog.text


def _gap(positions, hounsfield):
    return np.delete(positions, 3, axis=0), np.delete(hounsfield, 3, axis=0)


def _sideways(positions, hounsfield):
    return positions + np.arange(len(positions))[:, None] * [0, 0.5, 0], hounsfield


def _twice(positions, hounsfield):
    positions = positions.copy()
    positions[4] = positions[3]
    return positions, hounsfield


@pytest.mark.parametrize(
    "spoil, said", [(_gap, "unevenly"), (_sideways, "sideways"), (_twice, "same place")], ids=["gap", "tilt", "twice"]
)
def test_uneven_stack_is_refused(tmp_path, hounsfield, spoil, said):
    positions = np.arange(7)[:, None] * np.array([0, 0, 2.0])
    positions, hounsfield = spoil(positions, hounsfield)
    write_ct_series(tmp_path / "d", hounsfield, positions, np.eye(3)[:2], (1, 1))
    with pytest.raises(InputError, match=said):
        read_ct(tmp_path / "d")


def test_folder_without_ct(tmp_path):
    with pytest.raises(InputError, match="no CT slices"):
        read_ct(tmp_path)


@pytest.mark.parametrize("padding", [-2000, -3024, -32768])
def test_padding_becomes_air(tmp_path, hounsfield, padding):
    hounsfield[:, 0, :] = padding
    sitk.WriteImage(sitk.GetImageFromArray(hounsfield), str(tmp_path / "ct.nrrd"))
    volume = read_ct(tmp_path / "ct.nrrd")
    assert (volume.hounsfield[:, 0, :] == -1024).all()
    np.testing.assert_array_equal(volume.hounsfield[:, 1:], hounsfield[:, 1:])


def test_metal_is_tolerated(tmp_path, hounsfield):
    hounsfield[3, 4, 5] = 20000
    sitk.WriteImage(sitk.GetImageFromArray(hounsfield), str(tmp_path / "ct.nrrd"))
    assert read_ct(tmp_path / "ct.nrrd").hounsfield.max() == 20000


def _write(path: Path, array: np.ndarray, **how) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, **how), str(path))
    return path


def _truncated_nrrd(folder, hounsfield):
    path = _write(folder / "ct.nrrd", hounsfield)
    path.write_bytes(path.read_bytes()[:-300])
    return path


def _truncated_nifti(folder, hounsfield):
    path = _write(folder / "ct.nii", hounsfield)
    path.write_bytes(path.read_bytes()[:-300])
    return path


def _truncated_gzip(folder, hounsfield):
    path = _write(folder / "ct.nii.gz", hounsfield)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _truncated_meta(folder, hounsfield):
    path = _write(folder / "ct.mha", hounsfield)
    path.write_bytes(path.read_bytes()[:-300])
    return path


def _text(folder, hounsfield):
    (folder / "ct.nrrd").write_text("not an image")
    return folder / "ct.nrrd"


def _empty(folder, hounsfield):
    (folder / "ct.nrrd").touch()
    return folder / "ct.nrrd"


def _nan(folder, hounsfield):
    values = hounsfield.astype(np.float32)
    values[2, 2, 2] = np.nan
    return _write(folder / "ct.nrrd", values)


def _raw_scanner_values(folder, hounsfield):
    return _write(folder / "ct.nrrd", (hounsfield + 1024).astype(np.uint16))


def _normalised(folder, hounsfield):
    return _write(folder / "ct.nrrd", (hounsfield / 1000).astype(np.float32))


def _absurd(folder, hounsfield):
    return _write(folder / "ct.nrrd", hounsfield.astype(np.float32) * 1000)


BAD = {
    "missing": (lambda folder, hu: folder / "absent.nrrd", "does not exist"),
    "empty": (_empty, "is empty"),
    "text": (_text, "cannot be read"),
    "truncated NRRD": (_truncated_nrrd, "cannot be read"),
    "truncated NIfTI": (_truncated_nifti, "cannot be read"),
    "truncated gzip": (_truncated_gzip, "cannot be read"),
    "truncated MetaImage": (_truncated_meta, "cannot be read"),
    "2D": (lambda folder, hu: _write(folder / "ct.nrrd", hu[0]), "2 dimensions"),
    "single slice": (lambda folder, hu: _write(folder / "ct.nrrd", hu[:1]), "single slice"),
    "4D": (lambda folder, hu: _write(folder / "ct.nrrd", np.stack([hu, hu]), isVector=False), "4 dimensions"),
    "vector": (lambda folder, hu: _write(folder / "ct.nrrd", np.stack([hu] * 3, -1), isVector=True), "several values"),
    "NaN": (_nan, "NaN"),
    "8-bit": (lambda folder, hu: _write(folder / "ct.nrrd", np.clip(hu, 0, 255).astype(np.uint8)), "8-bit"),
    "no offset": (_raw_scanner_values, "no voxel of air"),
    "normalised": (_normalised, "no voxel of air"),
    "absurd": (_absurd, "no Hounsfield unit"),
}


@pytest.mark.parametrize("make, said", BAD.values(), ids=BAD.keys())
def test_bad_ct_ends_in_one_sentence(tmp_path, hounsfield, make, said):
    path = make(tmp_path, hounsfield)
    with pytest.raises(InputError, match=said) as error:
        read_ct(path)
    assert path.name in str(error.value) and "\n" not in str(error.value)


def test_sheared_nifti_is_refused(tmp_path, hounsfield):
    path = _write(tmp_path / "ct.nii", hounsfield)
    content = bytearray(path.read_bytes())
    # NIfTI-1 header: qform_code at 252, sform_code at 254, srow_x from 280.
    content[252:256] = np.array([0, 2], "<i2").tobytes()
    content[280:328] = np.array([[1, 0.6, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"shear|cannot be read"):
        read_ct(path)


def test_complete_gzip_is_read(tmp_path, hounsfield):
    """The control of the truncated files: the same file, whole."""
    path = _write(tmp_path / "ct.nii", hounsfield)
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_ct(tmp_path / "ct.nii.gz").hounsfield, hounsfield)


@pytest.mark.parametrize("name", ["thorax", "skull_phantom", "lumbar_pelvis"])
def test_real_ct(shared, name):
    path = shared / "data" / "ct" / f"{name}.nrrd"
    image = sitk.ReadImage(str(path))
    volume = read_ct(path)
    index = (10, 20, 30)
    assert volume.hounsfield[index[::-1]] == image[index]
    np.testing.assert_allclose(
        (volume.ijk_to_ras @ [*index, 1])[:3], LPS @ image.TransformIndexToPhysicalPoint(index), atol=1e-9
    )
