"""Files of a registration: the keys others rely on, hashes, poses as ITK reads them, nothing half-written."""

import hashlib
import json

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.pose_file import Truth
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.workflow.result_file import described_input, plain, write_result
from DiffPoseRegistrationLib.workflow.scoring import bone_points, score
from stand_ins import result

CT = phantom_ct(size=(40, 30, 40), spacing=8.0)
CAMERA = Camera(1000.0, 64, 64, (5.0, 5.0))
TRUE = view_pose("AP", CT.centre_ras, 700.0)


@pytest.fixture
def ct_file(tmp_path):
    (tmp_path / "ct.bin").write_bytes(b"abc")
    return tmp_path / "ct.bin"


def _write(folder, ct_file, truth=None):
    found = perturbed(TRUE, CT.centre_ras, 1, 1, np.random.default_rng(1))
    initial = perturbed(TRUE, CT.centre_ras, 9, 9, np.random.default_rng(2))
    xray = XRay(np.random.default_rng(0).random((64, 64)), CAMERA, name="xray.dcm")
    inputs = {"ct": ct_file, "xray": ct_file, "model": None}
    return found, initial, write_result(folder, result(found, initial, xray), CT, inputs=inputs, truth=truth)


def test_files_and_keys(tmp_path, ct_file):
    folder = tmp_path / "a new" / "folder"
    found, initial, data = _write(folder, ct_file, Truth(TRUE, phantom_landmarks()))
    assert sorted(p.name for p in folder.iterdir()) == ["overlay.png", "pose.h5", "result.json"]
    written = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert written == data
    np.testing.assert_allclose(written["camera_to_world_ras_mm"], found)
    np.testing.assert_allclose(written["initial_camera_to_world_ras_mm"], initial)
    expected = {
        "similarity", "seconds", "renders", "verdict", "verdict_reasons", "predicted_error_mm", "versions", "inputs",
        "camera", "predicted_error_along_mm", "weak_direction", "agreement", "starts", "alternatives",
        "tre_mm", "projection_error_mm", "rotation_deg", "in_plane_mm", "depth_mm",
    }  # fmt: skip
    assert expected <= set(written)
    assert written["inputs"]["ct"] == {"file": "ct.bin", "sha256": hashlib.sha256(b"abc").hexdigest()}
    assert set(written["inputs"]) == {"ct", "xray"}
    assert written["initial_tre_mm"] > written["tre_mm"] > 0


def test_pose_file_as_itk_reads_it(tmp_path, ct_file):
    found, initial, _ = _write(tmp_path / "out", ct_file)
    transform = sitk.ReadTransform(str(tmp_path / "out" / "pose.h5"))

    def worst(pose):
        # ITK's file maps from the patient (LPS) to the camera (also with x, y turned round).
        flip = np.diag([-1.0, -1.0, 1.0])
        points = np.random.default_rng(0).uniform(-100, 100, (5, 3))
        in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
        mapped = np.array([transform.TransformPoint((flip @ p).tolist()) for p in points]) @ flip
        return np.abs(mapped - in_camera).max()

    assert worst(found) < 1e-6
    assert worst(initial) > 1


def test_results_of_before_are_replaced(tmp_path, ct_file):
    _write(tmp_path / "out", ct_file)
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    _write(tmp_path / "out", ct_file)
    assert (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_unwritable_folder_is_one_sentence(tmp_path, ct_file):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="choose another folder with --out"):
        _write(tmp_path / "file" / "out", ct_file)


def test_json_has_no_nan():
    assert plain({"a": np.array([1.0, np.nan]), "b": (np.float32(2.0), np.inf)}) == {"a": [1.0, None], "b": [2.0, None]}


def test_folder_hash_depends_on_content(tmp_path):
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    assert described_input(tmp_path)["sha256"] == hashlib.sha256(b"12").hexdigest()


def test_score_without_landmarks_uses_bone():
    points = bone_points(CT)
    assert points.shape == (20, 3)
    shifted = TRUE.copy()
    shifted[:3, 3] += 3.0 * TRUE[:3, 2]
    errors = score(shifted, Truth(TRUE, None), CT, CAMERA)
    assert errors["tre_mm"] == pytest.approx(3.0) and errors["depth_mm"] == pytest.approx(3.0)
    assert "CT's bone" in errors["landmarks"]
