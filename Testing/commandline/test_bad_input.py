"""Wrong input to the real commands: exit code 2, one sentence that names it and the remedy, nothing half-written."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.encoder.frame import PoseFrame
from DiffPoseRegistrationLib.encoder.model_file import PreparedModel, save_model
from DiffPoseRegistrationLib.encoder.network import PoseEncoder
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.workflow.simulate import write_ct

CAMERA = {"source_to_detector_mm": 1000, "rows": 64, "columns": 64, "pixel_spacing_mm": [5.0, 5.0]}


def _write_json(path, data):
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Everything right: a CT, its case, a camera, a model of this CT and one of another."""
    folder = tmp_path_factory.mktemp("right")
    ct = phantom_ct(0, size=(80, 60, 80), spacing=4.0)
    write_ct(folder / "ct.nrrd", ct)
    _write_json(folder / "camera.json", CAMERA)
    case = ["--ct", folder / "ct.nrrd", "--camera", folder / "camera.json", "--out", folder / "case"]
    assert main([str(a) for a in ["simulate", *case]]) == 0
    camera = Camera.from_json(CAMERA)
    pose_range = PoseRange(view_pose("AP", ct.centre_ras, 700.0), ct.centre_ras, (20, 20, 20), (30, 30, 30))
    torch.manual_seed(0)
    frame, settings = PoseFrame.of_range(pose_range), TrainingSettings()
    for name, fingerprint in (("model", ct.fingerprint), ("other", "0" * 64)):
        network, patient = PoseEncoder(settings.network_shape(frame)), "another-patient.nrrd"
        known = (network, frame, settings, camera, pose_range, fingerprint, patient, ct.mapping, {})
        save_model(PreparedModel(*known), folder / f"{name}.safetensors")
    return folder


class Place:
    """A folder of a person's files, all right at first, in which a test spoils one."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ct, self.xray, self.camera = folder / "ct.nrrd", folder / "case" / "xray.dcm", folder / "camera.json"
        self.truth, self.out = folder / "case" / "truth.json", folder / "out"
        self.model, self.other = folder / "model.safetensors", folder / "other.safetensors"

    def register(self, **change):
        options = {"--ct": self.ct, "--xray": self.xray, "--initial": self.truth, "--out": self.out}
        options.update({f"--{name}": value for name, value in change.items()})
        if "--model" in options:
            del options["--initial"]
        return ["register", *(str(x) for pair in options.items() for x in pair)]

    def prepare(self, **change):
        options = {"--ct": self.ct, "--xray": self.xray, "--out": self.folder / "made.safetensors", "--minutes": 0.01}
        options.update({f"--{name}": value for name, value in change.items()})
        return ["prepare", *(str(x) for pair in options.items() for x in pair)]

    def evaluate(self, *arguments, **change):
        options = {"--ct": self.ct, "--cases": self.truth.parent, "--out": self.out}
        options.update({f"--{name}": value for name, value in change.items()})
        return ["evaluate", *(str(x) for pair in options.items() for x in pair), *map(str, arguments)]

    def image(self, name, array):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(self.folder / name))
        return self.folder / name

    def cut(self, name, share=0.6):
        path = self.folder / name
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    def pose(self, name, matrix):
        _write_json(self.folder / name, {"camera_to_world_ras_mm": matrix})
        return self.folder / name


@pytest.fixture
def place(inputs, tmp_path):
    shutil.copytree(inputs, tmp_path / "place")
    return Place(tmp_path / "place")


def _refused(capsys, place, arguments, *words):
    """The command ends with 2, says one sentence with ``words``, and leaves every file as it was and no other."""
    before = {p: p.read_bytes() for p in place.folder.parent.rglob("*") if p.is_file()}
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    lines = said.err.strip().splitlines()
    # The terminal's progress, where one was begun, is a line of its own.
    sentences = [line for line in lines if line.startswith("diffpose: ")]
    assert len(sentences) == 1 and lines[-1] == sentences[0], lines
    assert all(line.startswith(("diffpose: ", "Registering ", "Preparing ", "Evaluating ")) for line in lines), lines
    assert sentences[0].endswith(".") and len(sentences[0]) < 500
    for word in words:
        assert str(word) in sentences[0], sentences[0]
    after = {p: p.read_bytes() for p in place.folder.parent.rglob("*") if p.is_file()}
    assert after == before


def test_the_files_are_right_before_they_are_spoilt(place):
    """The control of all that follows."""
    assert main(place.register()) == 0
    assert sorted(p.name for p in place.out.iterdir()) == ["overlay.png", "pose.h5", "result.json"]


# -- missing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["ct", "xray", "camera", "initial", "model", "truth"])
def test_missing_file_for_register(place, capsys, role):
    nowhere = place.folder / "nowhere" / "größe.json"
    _refused(capsys, place, place.register(**{role: nowhere}), nowhere, "does not exist")


@pytest.mark.parametrize("role", ["ct", "xray", "camera", "centre-pose"])
def test_missing_file_for_prepare(place, capsys, role):
    nowhere = place.folder / "nowhere.json"
    _refused(capsys, place, place.prepare(**{role: nowhere}), nowhere, "does not exist")


def test_missing_file_for_evaluate(place, capsys):
    nowhere = place.folder / "nowhere"
    perturb = ["--perturb", 5, 5]
    _refused(capsys, place, place.evaluate(*perturb, cases=nowhere), nowhere, "truth.json")
    _refused(capsys, place, place.evaluate(*perturb, cases=place.folder), place.folder, "truth.json")
    _refused(capsys, place, place.evaluate(model=nowhere), nowhere, "does not exist")
    _refused(capsys, place, place.evaluate(*perturb, ct=nowhere), nowhere)


# -- a CT that is none -------------------------------------------------------------------------------


def _grey(place):
    return place.image("grey.nrrd", np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype(np.uint8))


@pytest.mark.parametrize("command", ["register", "prepare"])
def test_ct_that_is_not_in_hounsfield_units(place, capsys, command):
    _refused(capsys, place, getattr(place, command)(ct=_grey(place)), "grey.nrrd", "Hounsfield")


def test_ct_of_unsigned_grey_values(place, capsys):
    values = np.random.default_rng(0).integers(0, 4000, (20, 20, 20)).astype(np.uint16)
    _refused(capsys, place, place.register(ct=place.image("unsigned.nrrd", values)), "unsigned.nrrd", "Hounsfield")


def test_other_files_as_ct(place, capsys):
    _refused(capsys, place, place.register(ct=place.xray), "xray.dcm")
    _refused(capsys, place, place.register(ct=place.truth), "truth.json")
    _refused(capsys, place, place.register(ct=place.model), "model.safetensors")
    flat = place.image("flat.nrrd", np.zeros((20, 20), np.int16))
    _refused(capsys, place, place.register(ct=flat), "flat.nrrd")
    (place.folder / "empty").mkdir()
    _refused(capsys, place, place.register(ct=place.folder / "empty"), "empty")
    _refused(capsys, place, place.register(ct=place.cut("ct.nrrd")), "ct.nrrd")


def test_ct_with_nan(place, capsys):
    values = np.full((20, 20, 20), -1000, np.float32)
    values[5:15, 5:15, 5:15] = 500
    values[3, 4, 5] = np.nan
    _refused(capsys, place, place.register(ct=place.image("nan.nrrd", values)), "nan.nrrd", "not finite")


def test_ct_of_air(place, capsys):
    air = place.image("air.nrrd", np.full((20, 20, 20), -1000, np.int16))
    _refused(capsys, place, place.register(ct=air), "air.nrrd", "nothing but air")


# -- an X-ray that is none ---------------------------------------------------------------------------


def _picture():
    return np.random.default_rng(0).integers(1, 60000, (64, 64)).astype(np.uint16)


@pytest.mark.parametrize("command", ["register", "prepare"])
def test_xray_without_geometry(place, capsys, command):
    bare = place.image("bare.png", _picture())
    _refused(capsys, place, getattr(place, command)(xray=bare), "bare.png", "--camera")


def test_dicom_without_geometry(place, capsys):
    file = pydicom.dcmread(place.xray)
    del file.DistanceSourceToDetector
    file.save_as(place.xray)
    _refused(capsys, place, place.register(), "xray.dcm", "--camera")


@pytest.mark.parametrize("name", ["CR_extremity_RG3_nospacing_mono1", "CR_chest_RG1_zero_spacing_mono1"])
def test_clinical_dicom_without_geometry(place, capsys, shared, name):
    file = shared / "data" / "dicom" / f"{name}.dcm"
    _refused(capsys, place, place.register(xray=file), name, "--camera")


@pytest.mark.parametrize("command", ["register", "prepare"])
def test_volume_as_xray(place, capsys, command):
    arguments = getattr(place, command)(xray=place.ct, camera=place.camera)
    _refused(capsys, place, arguments, "ct.nrrd", "2D")


def test_xray_with_nan(place, capsys):
    pixels = np.ones((64, 64), np.float32)
    pixels[3, 4] = np.nan
    arguments = place.register(xray=place.image("nan.mha", pixels), camera=place.camera)
    _refused(capsys, place, arguments, "nan.mha", "not finite")


def test_xray_without_a_picture(place, capsys):
    constant = place.image("constant.png", np.full((64, 64), 7, np.uint16))
    _refused(capsys, place, place.register(xray=constant, camera=place.camera), "constant.png")


def test_other_files_as_xray(place, capsys):
    for file in (place.truth, place.model, place.folder):
        _refused(capsys, place, place.register(xray=file, camera=place.camera), file)
    _refused(capsys, place, place.register(xray=place.cut("case/xray.dcm")), "xray.dcm")


def test_geometry_of_another_image(place, capsys):
    _write_json(place.camera, {**CAMERA, "rows": 100})
    _refused(capsys, place, place.register(camera=place.camera), "xray.dcm", "100")


@pytest.mark.parametrize(
    ("camera", "word"),
    [
        ({**CAMERA, "source_to_detector_mm": None}, "source_to_detector_mm"),
        ({**CAMERA, "pixel_spacing_mm": [float("nan"), 1.0]}, "pixel_spacing_mm"),
        ({**CAMERA, "pixel_spacing_mm": 5}, "pixel_spacing_mm"),
        ({"views": {"cam1": CAMERA, "cam2": CAMERA}}, "camera.json:cam1"),
        ([], "camera.json"),
    ],
)
def test_bad_camera_file(place, capsys, camera, word):
    _write_json(place.camera, camera)
    _refused(capsys, place, place.register(camera=place.camera), word)


def test_view_that_is_not_in_the_file(place, capsys):
    _write_json(place.camera, {"views": {"cam1": CAMERA}})
    _refused(capsys, place, place.register(camera=f"{place.camera}:cam9"), "cam9", "cam1")


# -- poses -------------------------------------------------------------------------------------------


def _truth_matrix(place):
    return json.loads(place.truth.read_text(encoding="utf-8"))["camera_to_world_ras_mm"]


def test_bad_poses(place, capsys):
    matrix = np.array(_truth_matrix(place))
    for name, change, word in (
        ("nan.json", lambda m: m.__setitem__((0, 3), np.nan), "nan.json"),
        ("mirrored.json", lambda m: m.__setitem__((slice(3), 0), -m[:3, 0]), "reflection"),
        ("metres.json", lambda m: m.__setitem__((slice(3), slice(3)), m[:3, :3] / 1000), "rotation"),
    ):
        changed = matrix.copy()
        change(changed)
        _refused(capsys, place, place.register(initial=place.pose(name, changed.tolist())), name, word)
    _refused(capsys, place, place.register(initial=place.pose("short.json", [[1, 0], [0, 1]])), "short.json", "4x4")
    _refused(capsys, place, place.register(initial=place.camera), "camera.json", "camera_to_world_ras_mm")
    _refused(capsys, place, place.register(initial=place.ct), "ct.nrrd")
    _refused(capsys, place, place.register(initial=place.cut("case/truth.json")), "truth.json", "JSON")


def test_pose_that_looks_elsewhere(place, capsys):
    inverted = np.linalg.inv(_truth_matrix(place))
    _refused(capsys, place, place.register(initial=place.pose("inverse.json", inverted.tolist())), "initial pose")
    away = np.array(_truth_matrix(place))
    away[0, 3] += 3000
    _refused(capsys, place, place.register(initial=place.pose("away.json", away.tolist())), "initial pose")


# -- models ------------------------------------------------------------------------------------------


def test_model_of_another_ct(place, capsys):
    _refused(capsys, place, place.register(model=place.other), "another-patient.nrrd", "ct.nrrd", "prepare")
    _refused(capsys, place, place.evaluate(model=place.other), "another-patient.nrrd", "ct.nrrd", "prepare")


def test_what_is_no_model(place, capsys):
    _refused(capsys, place, place.register(model=place.ct), "ct.nrrd")
    _refused(capsys, place, place.register(model=place.cut("model.safetensors")), "model.safetensors", "damaged")


# -- targets -----------------------------------------------------------------------------------------


def test_out_that_cannot_be_written(place, capsys):
    (place.folder / "file").write_text("kept", encoding="utf-8")
    for blocked in (place.folder / "file", place.folder / "file" / "out"):
        _refused(capsys, place, place.register(out=blocked), blocked, "--out")
        _refused(capsys, place, place.evaluate("--perturb", 1, 1, out=blocked), blocked, "--out")
    _refused(capsys, place, place.prepare(out=place.folder / "file" / "m.safetensors"), place.folder / "file", "--out")
    _refused(capsys, place, place.prepare(out=place.folder / "m.pt"), "m.pt", ".safetensors")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write anywhere")
def test_read_only_out(place, capsys):
    place.out.mkdir()
    place.out.chmod(0o500)
    _refused(capsys, place, place.register(), place.out, "--out")


# -- what else is asked for --------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpu_that_is_not_there(place, capsys):
    _refused(capsys, place, place.prepare(device="cuda"), "--device cpu")


def test_range_that_misses_the_patient(place, capsys):
    away = np.array(_truth_matrix(place))
    away[0, 3] += 3000
    centre = place.pose("away.json", away.tolist())
    _refused(capsys, place, place.prepare(**{"centre-pose": centre}), "ct.nrrd", "projects into the image")


def test_cases_of_other_cts(place, capsys):
    truth = json.loads(place.truth.read_text(encoding="utf-8"))
    _write_json(place.truth, {**truth, "ct": "someone-else.nrrd"})
    _refused(capsys, place, place.evaluate("--perturb", 1, 1), "someone-else.nrrd", "--ct")
    _write_json(place.truth, {k: v for k, v in truth.items() if k != "ct"})
    _refused(capsys, place, place.evaluate("--perturb", 1, 1), "truth.json", "'ct'")
