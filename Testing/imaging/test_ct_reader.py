"""CT files: positions against SimpleITK and DICOM's own formula, and every kind of unfit file."""

import gzip
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import write_ct_series
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.ct_size import of_reasonable_size
from DiffPoseRegistrationLib.imaging.values import CTVolume

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


def test_largest_of_several_series_is_taken_and_named(tmp_path, hounsfield):
    axial, up = np.eye(3)[:2], np.array([0, 0, 2.0])
    write_ct_series(tmp_path / "d", hounsfield, np.arange(7)[:, None] * up, axial, (1, 1), 3, "bone")
    write_ct_series(tmp_path / "d", hounsfield[:3], np.arange(3)[:, None] * up, axial, (1, 1), 4, "scout")
    for number, modality in ((5, "MR"), (6, "PT")):  # a PET/CT's folder holds both
        every = np.concatenate([hounsfield, hounsfield])
        places = np.arange(14)[:, None] * up
        write_ct_series(tmp_path / "d", every, places, axial, (1, 1), number, modality, modality=modality)
    volume = read_ct(tmp_path / "d")
    assert volume.size_ijk == (9, 8, 7)
    assert "series 3, bone" in volume.name
    assert "2 CT series" in volume.warnings[0] and "bone" in volume.warnings[0]


def test_slices_further_inside_a_disc_and_no_scout_view(tmp_path, hounsfield):
    series = tmp_path / "PA000001" / "ST000001"
    series.mkdir(parents=True)
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    write_ct_series(series / "SE000001", hounsfield, np.arange(7)[:, None] * [0, 0, 2.0], np.eye(3)[:2], (1, 1))
    scout = sorted((series / "SE000001").iterdir())[0]
    dataset = pydicom.dcmread(scout)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.Rows = 4  # of another size than the slices, as such views are
    dataset.PixelData = dataset.PixelData[: 4 * 9 * 2]
    dataset.save_as(series / "SE000001" / "scout.dcm")
    volume = read_ct(tmp_path)
    np.testing.assert_array_equal(volume.hounsfield, hounsfield)
    assert volume.warnings == ()


# -- stacks that are not even ------------------------------------------------------------------------


def _body(lps: np.ndarray) -> np.ndarray:
    """HU at points [..., 3] (LPS, mm): smooth, and unlike in every direction."""
    x, y, z = np.moveaxis(lps, -1, 0)
    return 300 * np.sin(x / 9 + 0.3) + 200 * np.cos(y / 7 - z / 11) + 10 * z - 500


def _write_stack(folder, positions):
    """Slices of the body, 40 x 48 pixels of 1.25 x 0.75 mm, at ``positions`` [n, 3] (LPS, mm) of their first pixels."""
    row, column = np.mgrid[:40, :48]
    plane = np.stack([column * 0.75, row * 1.25, np.zeros_like(row)], axis=-1)
    slices = np.stack([_body(plane + position) for position in positions])
    write_ct_series(folder, np.round(slices), positions, np.eye(3)[:2], (1.25, 0.75))


def _errors(volume):
    """Differences to the body at each voxel's place, leaving out the air that was added."""
    k, j, i = np.nonzero(volume.hounsfield > -1000)
    ras = volume.ijk_to_ras[:3, :3] @ np.stack([i, j, k]) + volume.ijk_to_ras[:3, 3:]
    return np.abs(volume.hounsfield[k, j, i] - _body((LPS @ ras).T)), len(k) / (40 * 48)


def test_a_missing_slice_and_a_changed_increment_are_filled_with_a_word(tmp_path):
    heights = np.delete(np.concatenate([np.arange(10) * 2.0, 18 + np.arange(1, 8) * 2.5]), 4)
    _write_stack(tmp_path / "d", np.stack([0 * heights, 0 * heights, heights], axis=1))
    volume = read_ct(tmp_path / "d")
    assert "2.00 to 4.00 mm apart" in volume.warnings[0]
    np.testing.assert_allclose(volume.spacing_mm, (0.75, 1.25, np.median(np.diff(heights))))
    errors, slices = _errors(volume)
    assert slices == volume.size_ijk[2] and errors.max() < 25  # linear between slices 4 mm apart, of 11 mm waves
    # The control: the slices taken as if they were even are elsewhere.
    even = volume.ijk_to_ras.copy()
    even[2, 2] *= 1.1
    assert _errors(CTVolume(volume.hounsfield, even))[0].max() > 75


def test_a_tilted_gantry_is_straightened_with_a_word(tmp_path):
    angle = np.deg2rad(15)
    along = np.arange(12) * 2.0
    # The table moves along the patient while the slices are tilted: they lie sideways to one another.
    positions = np.stack([along * 0 + 3.0, along * np.tan(angle), along], axis=1)
    _write_stack(tmp_path / "d", positions)
    volume = read_ct(tmp_path / "d")
    assert "tilted by 15.0 degrees" in volume.warnings[0]
    assert volume.size_ijk == (48, 40 + 5, 12)  # 5.9 mm over 1.25 mm, more
    errors, slices = _errors(volume)
    assert np.percentile(errors, 90) < 5 and slices > 11.5  # the others touch the air that was added
    # The control: without the shifts each slice is 0.4 pixels further from its place.
    leaning = np.eye(4)
    leaning[1, 2] = 0.4
    assert np.percentile(_errors(CTVolume(volume.hounsfield, volume.ijk_to_ras @ leaning))[0], 90) > 50


def _gap(positions):
    return np.delete(positions, [3, 4], axis=0)


def _anyhow(positions):
    return positions + np.random.default_rng(0).normal(size=(len(positions), 1)) * [0, 3.0, 0]


def _twice(positions):
    positions[4] = positions[3]
    return positions


@pytest.mark.parametrize("spoil, said", [(_gap, "gap of 6.00 mm"), (_anyhow, "sideways"), (_twice, "same place")])
def test_a_stack_that_leaves_too_much_to_guess_is_refused(tmp_path, spoil, said):
    _write_stack(tmp_path / "d", spoil(np.arange(9)[:, None] * np.array([0, 0, 2.0])))
    with pytest.raises(InputError, match=said):
        read_ct(tmp_path / "d")


# -- large ones --------------------------------------------------------------------------------------


def test_a_huge_volume_is_cropped_to_the_body_and_averaged_with_a_word():
    """A ball in much air, beside a thin table, with voxels twice as fine along i."""
    k, j, i = np.mgrid[:60, :64, :128]
    affine = np.array([[-0.5, 0, 0, 40], [0, 1.0, 0, -30], [0, 0, 1.0, 5], [0, 0, 0, 1.0]])
    points = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    ball = np.linalg.norm(points - [12, 0, 35], axis=-1)
    voxels = np.where(ball < 15, 1000 - 40 * ball, -1000).astype(np.int16)
    voxels[:, 60] = 100  # the table
    unchanged, same, done = of_reasonable_size(voxels, affine, "ct", most=voxels.size)
    assert unchanged is voxels and same is affine and done == ()
    small, where, (sentence,) = of_reasonable_size(voxels, affine, "ct", most=voxels.size // 3)
    assert small.size <= voxels.size // 3 and "128 x 64 x 60 voxels" in sentence and "2 MB in memory" in sentence
    assert "cropped to the body and averaged over 2 x 1 x 1 voxels" in sentence
    np.testing.assert_allclose(np.linalg.norm(where[:3, :3], axis=0), (1, 1, 1))
    n = np.array(np.unravel_index(np.argmax(small), small.shape))[::-1]
    assert np.linalg.norm(where[:3, :3] @ n + where[:3, 3] - [12, 0, 35]) < 1.0  # the ball's bright middle stays there
    inside = small[small > 0]
    assert inside.sum() * 1.0 == pytest.approx(voxels[voxels > 100].sum(dtype=float) * 0.5, rel=0.05)
    assert "averaged over 4 x 2 x 2" in of_reasonable_size(voxels, affine, "ct", most=voxels.size // 25)[2][0]


def test_fine_detail_does_not_turn_into_patterns():
    """A chessboard of voxels is grey from afar; every second voxel alone would be black or white."""
    board = np.where(np.indices((40, 40, 40)).sum(axis=0) % 2, 1000, -1000).astype(np.int16)
    small = of_reasonable_size(board, np.eye(4), "ct", most=8000)[0]
    assert small.shape == (20, 20, 20) and np.abs(small).max() == 0
    assert np.abs(board[::2, ::2, ::2]).min() == 1000


def test_a_header_that_states_more_than_its_file_holds_is_refused_before_room_is_made(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.int16)), str(tmp_path / "ct.nrrd"), True)
    text = (tmp_path / "ct.nrrd").read_bytes().replace(b"sizes: 4 4 4", b"sizes: 40000 40000 4000")
    (tmp_path / "ct.nrrd").write_bytes(text)
    with pytest.raises(InputError, match="damaged"):
        read_ct(tmp_path / "ct.nrrd")


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
