"""The thread for real on a small phantom: simulate, prepare, register; and what other programs read from its files."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.workflow.simulate import write_ct
from PIL import Image

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
SEED = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a case, a model of a few seconds, and two registrations: from the model and from a rough pose."""
    folder = tmp_path_factory.mktemp("run")
    write_ct(folder / "ct.nrrd", phantom_ct(SEED, size=(80, 60, 80), spacing=4.0))
    camera = {"source_to_detector_mm": 1020, "rows": 128, "columns": 128, "pixel_spacing_mm": [2.5, 2.5]}
    (folder / "camera.json").write_text(json.dumps(camera), encoding="utf-8")
    ct = ["--ct", folder / "ct.nrrd"]
    place = ["--camera", folder / "camera.json", "--view", "AP"]
    pose = ["--angles", 7, -4, 3, "--shift", 12, 20, -8]
    case = folder / "case"
    _main("simulate", *ct, *place, *pose, "--out", case)
    truth = json.loads((case / "truth.json").read_text(encoding="utf-8"))
    truth["landmarks_ras_mm"] = phantom_landmarks(SEED).tolist()
    (case / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    model = folder / "model.safetensors"
    narrow = ["--rotation", 15, 15, 10, "--translation", 20, 40, 20, "--minutes", 0.1]
    _main("prepare", *ct, *place, *narrow, "--out", model)
    files = [*ct, "--xray", case / "xray.dcm", "--truth", case / "truth.json"]
    _main("register", *files, "--model", model, "--out", folder / "from model")
    _main("simulate", *ct, *place, "--out", folder / "rough")  # the view itself is the rough pose
    _main("register", *files, "--initial", folder / "rough" / "truth.json", "--out", folder / "from pose")
    return folder


def _main(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def _result(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("start", ["from model", "from pose"])
def test_the_hidden_pose_is_found(run, start):
    result = _result(run / start)
    assert result["tre_mm"] < 2 and result["initial_tre_mm"] > result["tre_mm"]
    truth = np.array(json.loads((run / "case" / "truth.json").read_text(encoding="utf-8"))["camera_to_world_ras_mm"])
    landmarks = np.c_[phantom_landmarks(SEED), np.ones(20)].T
    found = np.array(result["camera_to_world_ras_mm"])
    in_camera = np.linalg.inv(found) @ landmarks - np.linalg.inv(truth) @ landmarks
    assert result["tre_mm"] == pytest.approx(np.linalg.norm(in_camera[:3], axis=0).mean(), abs=1e-6)


@pytest.mark.parametrize("start", ["from model", "from pose"])
def test_result_holds_what_was_promised(run, start):
    result = _result(run / start)
    for key in (
        "camera_to_world_ras_mm", "initial_camera_to_world_ras_mm", "similarity", "seconds", "renders", "verdict",
        "predicted_error_mm", "versions", "tre_mm", "projection_error_mm", "rotation_deg", "in_plane_mm", "depth_mm",
    ):  # fmt: skip
        assert result[key] is not None, key
    assert result["verdict"] in ("accept", "check", "reject") and result["renders"] > 10
    assert {"refinement", "initial_pose"} <= set(result["seconds"]) and len(result["inputs"]["ct"]["sha256"]) == 64
    assert np.linalg.det(np.array(result["camera_to_world_ras_mm"])[:3, :3]) == pytest.approx(1)
    picture = Image.open(run / start / "overlay.png")
    picture.load()
    assert min(picture.size) > 200 and np.asarray(picture.convert("L")).std() > 10


def _from_simpleitk(path):
    """camera_to_world of a transform file: it maps LPS points the other way, resampling."""
    transform = sitk.ReadTransform(str(path))
    origin = np.array(transform.TransformPoint((0, 0, 0)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([np.array(transform.TransformPoint(tuple(e))) - origin for e in np.eye(3)], axis=1)
    matrix[:3, 3] = origin
    return FLIP @ np.linalg.inv(matrix) @ FLIP


def test_simpleitk_reads_the_pose(run):
    expected = np.array(_result(run / "from model")["camera_to_world_ras_mm"])
    np.testing.assert_allclose(_from_simpleitk(run / "from model" / "pose.h5"), expected, atol=1e-6)
    # Controls: without the change of axes, or without the inversion, it is another pose.
    assert np.abs(FLIP @ _from_simpleitk(run / "from model" / "pose.h5") @ FLIP - expected).max() > 1
    assert np.abs(np.linalg.inv(_from_simpleitk(run / "from model" / "pose.h5")) - expected).max() > 1


def test_mrml_reads_the_pose(run):
    slicer = pytest.importorskip("slicer", reason="reading as 3D Slicer does needs the slicer-core wheel")
    vtk = pytest.importorskip("vtk")
    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLLinearTransformNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLTransformStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(run / "from model" / "pose.h5"))
    assert storage.ReadData(node) == 1 and node.IsLinear()
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(matrix)
    found = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    result = _result(run / "from model")
    np.testing.assert_allclose(found, result["camera_to_world_ras_mm"], atol=1e-6)
    assert np.abs(found - result["initial_camera_to_world_ras_mm"]).max() > 1e-3


def test_pose_file_starts_another_registration(run, tmp_path):
    files = ["--ct", run / "ct.nrrd", "--xray", run / "case" / "xray.dcm", "--initial", run / "from model" / "pose.h5"]
    _main("register", *files, "--out", tmp_path)
    again, first = _result(tmp_path), _result(run / "from model")
    np.testing.assert_allclose(again["initial_camera_to_world_ras_mm"], first["camera_to_world_ras_mm"], atol=1e-6)
