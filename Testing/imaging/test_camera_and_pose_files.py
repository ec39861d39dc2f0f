"""Camera, pose and truth files: views, ITK transforms against SimpleITK, and sentences for bad ones."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.camera_file import read_camera, read_views
from DiffPoseRegistrationLib.imaging.file_views import split_view
from DiffPoseRegistrationLib.imaging.pose_file import read_pose, read_truth, write_pose

CAMERA = {"source_to_detector_mm": 1020.0, "rows": 512, "columns": 400, "pixel_spacing_mm": [0.5, 0.6]}
FLIP = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def pose() -> np.ndarray:
    """A rigid motion [4, 4] that SimpleITK made."""
    euler = sitk.Euler3DTransform()
    euler.SetRotation(0.4, -0.7, 1.1)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(euler.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = 12.5, -340.25, 1800.0
    return matrix


def write_json(path, data):
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


# -- cameras -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [True, False])
def test_camera_nested_or_at_top_level(tmp_path, nested):
    path = write_json(tmp_path / "größe.json", {"camera": CAMERA} if nested else CAMERA)
    assert read_camera(path) == Camera(1020, 512, 400, (0.5, 0.6))


def test_views_inherit_the_side_they_are_seen_from(tmp_path):
    other = {**CAMERA, "viewed_from": "source", "rows": 100}
    path = write_json(tmp_path / "t.json", {"viewed_from": "detector", "views": {"a": CAMERA, "b": {"camera": other}}})
    assert read_camera(f"{path}:a") == Camera(1020, 512, 400, (0.5, 0.6), viewed_from="detector")
    assert read_camera(f"{path}:b") == Camera(1020, 100, 400, (0.5, 0.6), viewed_from="source")
    assert read_views(path) == {"a": read_camera(f"{path}:a"), "b": read_camera(f"{path}:b")}


def test_matrix_instead_of_spacing(tmp_path):
    k = [[6000.0, 0, 800], [0, 5000.0, 900], [0, 0, 1]]
    path = write_json(tmp_path / "t.json", {"rows": 1700, "columns": 1600, "intrinsic_matrix_px": k})
    point = np.array([30.0, -20.0, 900.0])
    column, row = (np.array(k) @ point)[:2] / point[2]
    np.testing.assert_allclose(read_camera(path).project(point), [column, row], atol=1e-9)


@pytest.mark.parametrize(
    "spec, file, view",
    [
        (r"C:\data\t.json", r"C:\data\t.json", None),
        (r"C:\data\t.json:cam1", r"C:\data\t.json", "cam1"),
        ("C:t.json", "C:t.json", None),
        ("t.json:cam1", "t.json", "cam1"),
        ("folder/t.json", "folder/t.json", None),
    ],
)
def test_view_is_not_mistaken_for_a_drive(spec, file, view):
    path, found = split_view(spec)
    assert (str(path), found) == (file, view)


@pytest.mark.parametrize(
    "data, suffix, said",
    [
        ({"views": {"cam1": CAMERA, "cam2": CAMERA}}, "", "cam1, cam2"),
        ({"views": {"cam1": CAMERA, "cam2": CAMERA}}, ":cam3", "cam1, cam2"),
        ({"camera": CAMERA}, ":cam1", "single view"),
        ({"rows": 3}, "", "columns"),
        ({**CAMERA, "pixel_spacing_mm": [0.5, 0]}, "", "pixel_spacing_mm"),
        ([1, 2], "", "JSON object"),
    ],
)
def test_bad_camera_ends_in_one_sentence(tmp_path, data, suffix, said):
    path = write_json(tmp_path / "t.json", data)
    with pytest.raises(InputError, match=said):
        read_camera(f"{path}{suffix}")


def test_no_json(tmp_path):
    (tmp_path / "t.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="no readable JSON"):
        read_camera(tmp_path / "t.json")
    with pytest.raises(InputError, match="does not exist"):
        read_camera(f"{tmp_path / 'absent.json'}:cam1")


# -- poses -------------------------------------------------------------------------------------------


def lps_resampling(pose: np.ndarray, centre=(0.0, 0.0, 0.0)) -> sitk.AffineTransform:
    """The ITK transform of ``pose``: from world to camera, both in LPS, about ``centre``."""
    transform = sitk.AffineTransform(3)
    a = FLIP @ pose[:3, :3].T @ FLIP
    offset = -FLIP @ pose[:3, :3].T @ pose[:3, 3]
    transform.SetCenter(centre)
    transform.SetMatrix(a.ravel().tolist())
    # ITK: offset = translation + centre - A centre
    transform.SetTranslation((offset - np.array(centre) + a @ np.array(centre)).tolist())
    return transform


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt"])
@pytest.mark.parametrize("folder", ["plain", "Größe 測定"])
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (10.0, -20.0, 30.0)])
def test_transform_of_simpleitk_with_and_without_centre(tmp_path, pose, suffix, folder, centre):
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / f"pose{suffix}"
    transform = lps_resampling(pose, centre)
    sitk.WriteTransform(transform, str(path))
    found = read_pose(path)
    np.testing.assert_allclose(found, pose, atol=1e-9)
    if any(centre):  # the control: without its centre, the transform puts the camera centimetres off
        transform.SetCenter((0.0, 0.0, 0.0))
        sitk.WriteTransform(transform, str(path))
        assert np.linalg.norm(read_pose(path)[:3, 3] - pose[:3, 3]) > 5


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_written_pose_maps_points_in_simpleitk(tmp_path, pose, suffix):
    path = tmp_path / f"größe{suffix}"
    write_pose(path, pose)
    transform = sitk.ReadTransform(str(path))
    for point_camera in np.array([[0.0, 0, 0], [10, 20, 1000]]):
        point_ras = pose[:3, :3] @ point_camera + pose[:3, 3]
        np.testing.assert_allclose(FLIP @ transform.TransformPoint(FLIP @ point_ras), point_camera, atol=1e-9)
        assert np.linalg.norm(FLIP @ transform.TransformPoint(point_ras) - point_camera) > 5  # LPS taken for RAS
    np.testing.assert_allclose(read_pose(path), pose, atol=1e-9)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_composite_and_rigid_types_are_read(tmp_path, pose):
    euler = sitk.Euler3DTransform()
    euler.SetCenter((5, 6, 7))
    euler.SetRotation(0.1, 0.2, 0.3)
    sitk.WriteTransform(sitk.CompositeTransform([euler, lps_resampling(pose)]), str(tmp_path / "c.h5"))
    found = np.linalg.inv(read_pose(tmp_path / "c.h5"))
    point = np.array([30.0, -40.0, 50.0])
    expected = FLIP @ euler.TransformPoint(lps_resampling(pose).TransformPoint(FLIP @ point))
    np.testing.assert_allclose(found[:3, :3] @ point + found[:3, 3], expected, atol=1e-9)


def test_transform_that_is_not_rigid_is_refused(tmp_path, pose):
    scaled = lps_resampling(pose)
    scaled.SetMatrix((np.array(scaled.GetMatrix()) * 1.1).tolist())
    sitk.WriteTransform(scaled, str(tmp_path / "scaled.tfm"))
    with pytest.raises(InputError, match="scales or shears"):
        read_pose(tmp_path / "scaled.tfm")
    mirrored = lps_resampling(pose)
    mirrored.SetMatrix((np.array(mirrored.GetMatrix()) * -1).tolist())
    sitk.WriteTransform(mirrored, str(tmp_path / "mirrored.tfm"))
    with pytest.raises(InputError, match="reflection"):
        read_pose(tmp_path / "mirrored.tfm")
    field = sitk.DisplacementFieldTransform(sitk.Image(4, 4, 4, sitk.sitkVectorFloat64))
    sitk.WriteTransform(field, str(tmp_path / "field.h5"))
    with pytest.raises(InputError, match="no linear 3D transform"):
        read_pose(tmp_path / "field.h5")


def test_bad_pose_files(tmp_path, pose):
    with pytest.raises(InputError, match="does not exist"):
        read_pose(tmp_path / "absent.h5")
    (tmp_path / "text.tfm").write_text("hello")
    with pytest.raises(InputError, match="no transform"):
        read_pose(tmp_path / "text.tfm")
    path = write_json(tmp_path / "t.json", {"pose": pose.tolist()})
    with pytest.raises(InputError, match="camera_to_world_ras_mm"):
        read_pose(path)
    with pytest.raises(InputError, match="end in"):
        write_pose(tmp_path / "pose.json", pose)


def test_unwritable_folder_leaves_nothing(tmp_path, pose):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_pose(tmp_path / "absent" / "pose.h5", pose)
    with pytest.raises(InputError, match="cannot be written"):
        write_pose(tmp_path / "file" / "pose.h5", pose)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_truth_with_views_and_landmarks(tmp_path, pose):
    landmarks = [[1, 2, 3], [4, 5, 6]]
    views = {"a": {"camera_to_world_ras_mm": pose.tolist()}}
    path = write_json(tmp_path / "t.json", {"landmarks_ras_mm": landmarks, "views": views})
    truth = read_truth(f"{path}:a")
    np.testing.assert_allclose(truth.camera_to_world, pose, atol=1e-12)
    np.testing.assert_array_equal(truth.landmarks_ras_mm, landmarks)
    np.testing.assert_array_equal(read_pose(path), truth.camera_to_world)  # a single view needs no name
    write_pose(tmp_path / "p.h5", pose)
    assert read_truth(tmp_path / "p.h5").landmarks_ras_mm is None
    path = write_json(path, {"landmarks_ras_mm": [[1, 2]], **views["a"]})
    with pytest.raises(InputError, match="landmarks_ras_mm"):
        read_truth(path)


def test_case_landmarks_project_to_their_pixels(shared):
    """The files of an unrelated program: its pose and camera, read by us, put landmarks on its pixels."""
    folders = sorted((shared / "cases").iterdir())
    assert len(folders) >= 12
    for folder in folders:
        truth, camera = read_truth(folder / "truth.json"), read_camera(folder / "truth.json")
        expected = np.array(json.loads((folder / "truth.json").read_text())["landmarks_px"])
        world_to_camera = np.linalg.inv(truth.camera_to_world)
        points = truth.landmarks_ras_mm @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
        np.testing.assert_allclose(camera.project(points), expected, atol=0.01)
        misposed = points + np.array([5.0, 0, 0])
        assert np.abs(camera.project(misposed) - expected).max() > 1


def test_wrist_views(shared):
    path = shared / "data" / "wrist" / "truth.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    assert list(read_views(path)) == ["cam1", "cam2"]
    with pytest.raises(InputError, match="cam1, cam2"):
        read_camera(path)
    for name, camera in read_views(path).items():
        k = np.array(data["views"][name]["intrinsic_matrix_px"])
        point = np.array([20.0, -30.0, 950.0])
        np.testing.assert_allclose(camera.project(point), (k @ point)[:2] / 950, atol=1e-8)
        assert camera.viewed_from == data["viewed_from"]
        np.testing.assert_allclose(
            read_pose(f"{path}:{name}"), data["views"][name]["camera_to_world_ras_mm"], atol=1e-8
        )
