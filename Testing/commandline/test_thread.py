"""The commands' wiring from files to files; the computing itself is replaced by answers given at once."""

import json
import sys
import types

import numpy as np
import pytest
import SimpleITK as sitk
import stand_ins
from DiffPoseRegistrationLib.commandline import demo
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.geometry.pose_range import perturbed


class _Recorder:
    """Stands where training, model files and registration are, and remembers what they were given."""

    def __init__(self, monkeypatch):
        self.prepared = []
        self.registered = []
        library = "DiffPoseRegistrationLib"
        for name, functions in (
            ("workflow.prepare", {"prepare": self.prepare}),
            ("workflow.register", {"register": self.register}),
            ("encoder.model_file", {"save_model": self.save_model, "load_model": self.load_model}),
        ):
            module = types.ModuleType(name)
            vars(module).update(functions)
            monkeypatch.setitem(sys.modules, f"{library}.{name}", module)

    def prepare(
        self, ct, camera, pose_range, settings, *, labels=None, pretrained=None, device, progress=None, warn=None
    ):
        self.prepared.append((ct, camera, pose_range, settings.minutes, settings.seed, device))
        self.settings, self.labels = settings, labels
        progress(0.5, "pose error 3 mm", 10.0)
        record = {"seconds": 60.0, "images": 6400, "unseen_images": 400, "median_error_mm": 8.0}
        record |= {"percentile95_error_mm": 20.0, "disturbed_median_error_mm": 11.0}
        return types.SimpleNamespace(training={**record, "disturbed_percentile95_error_mm": 30.0})

    def save_model(self, model, path):
        path.write_text("model", encoding="utf-8")

    def load_model(self, path):
        text = path.read_text(encoding="utf-8") if hasattr(path, "read_text") else path
        return types.SimpleNamespace(text=text, mapping="ct")

    def register(self, ct, xray, *, model=None, initial=None, method="lm", device="auto", progress=None):
        self.registered.append((ct, xray, model, initial))
        progress(1.0, "done", 0.0)
        start = self.prepared[-1][2].centre if initial is None else initial
        found = perturbed(start, ct.centre_ras, 2, 2, np.random.default_rng(0))
        return stand_ins.result(found, start, xray, verdict="check", verdict_reasons=["a reason"], method=method)


@pytest.fixture
def recorder(monkeypatch):
    return _Recorder(monkeypatch)


def test_demo_makes_every_file_and_hides_the_pose(recorder, tmp_path, capsys):
    assert demo.main(["--out", str(tmp_path / "out"), "--seed", "2"]) == 0
    expected = {
        "ct.nrrd", "xray.dcm", "truth.json", "model.safetensors", "pose.h5", "result.json", "overlay.png", "range.png",
    }  # fmt: skip
    assert {p.name for p in (tmp_path / "out").iterdir()} == expected
    (ct, camera, pose_range, minutes, seed, _), (_, xray, _, initial) = recorder.prepared[0], recorder.registered[0]
    assert minutes <= 1.5 and seed == 2 and initial is None and xray.camera == camera
    truth = json.loads((tmp_path / "out" / "truth.json").read_text(encoding="utf-8"))
    hidden = np.array(truth["camera_to_world_ras_mm"])
    assert np.abs(hidden - pose_range.centre).max() > 10
    # Nothing that training and registration were given holds the hidden pose.
    np.testing.assert_allclose(pose_range.isocentre, ct.centre_ras)
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert result["tre_mm"] > 1 and result["inputs"]["model"]["file"] == "model.safetensors"
    text = capsys.readouterr().out
    assert "beam AP" in text and "TRE" in text and str((tmp_path / "out").resolve()) in text


def test_prepare_and_register_on_files(recorder, tmp_path, capsys):
    camera = {"source_to_detector_mm": 1000, "rows": 64, "columns": 64, "pixel_spacing_mm": [5.0, 5.0]}
    (tmp_path / "camera.json").write_text(json.dumps(camera), encoding="utf-8")
    case, model = tmp_path / "case", tmp_path / "models" / "m.safetensors"
    simulate = ["simulate", "--phantom", "0", "--camera", str(tmp_path / "camera.json"), "--source-to-isocentre", "650"]
    assert main([*simulate, "--out", str(case)]) == 0
    files = ["--ct", str(case / "ct.nrrd"), "--xray", str(case / "xray.dcm")]
    options = ["--view", "PA", "--rotation", "10", "20", "5", "--translation", "1", "2", "3", "--minutes", "0.1"]
    assert main(["prepare", *files, *options, "--out", str(model), "--preview", str(tmp_path / "p.png")]) == 0
    ct, given_camera, pose_range, minutes, _, _ = recorder.prepared[0]
    assert (given_camera.rows, given_camera.source_to_detector_mm, minutes) == (64, 1000.0, 0.1)
    assert pose_range.rotation_deg == (10, 20, 5) and pose_range.translation_mm == (1, 2, 3)
    # PA: the source is behind the patient, at the distance that the X-ray's DICOM states.
    np.testing.assert_allclose(pose_range.centre[:3, 3], ct.centre_ras - np.array([0, 650, 0]), atol=1e-6)
    assert (tmp_path / "p.png").exists() and model.exists()

    out = tmp_path / "out"
    truth = ["--truth", str(case / "truth.json"), "--out", str(out)]
    assert main(["register", *files, "--model", str(model), *truth]) == 0
    assert recorder.registered[0][2] is not None and recorder.registered[0][3] is None
    # The pose that was written is a start that is read: the round trip through Slicer's file format.
    assert main(["register", *files, "--initial", str(out / "pose.h5")]) == 0
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    np.testing.assert_allclose(recorder.registered[1][3], result["camera_to_world_ras_mm"], atol=1e-9)
    assert "a reason" in capsys.readouterr().out


def test_how_to_prepare_arrives(recorder, tmp_path, capsys):
    """A preset with its range, changed settings, a goal, structures, and the angles that the X-ray states."""
    case, out = tmp_path / "case", ["--out", str(tmp_path / "m.safetensors")]
    camera = {"source_to_detector_mm": 1000, "rows": 64, "columns": 64, "pixel_spacing_mm": [5.0, 5.0]}
    (tmp_path / "arm.json").write_text(json.dumps({**camera, "viewed_from": "detector"}), encoding="utf-8")
    place = ["--camera", str(tmp_path / "arm.json"), "--angles", "12", "-7", "0"]
    assert main(["simulate", "--phantom", "0", *place, "--out", str(case)]) == 0
    truth = json.loads((case / "truth.json").read_text(encoding="utf-8"))
    labels = sitk.Cast(sitk.ReadImage(str(case / "ct.nrrd")) > 300, sitk.sitkUInt8)
    sitk.WriteImage(labels, str(tmp_path / "labels.nrrd"))
    files = ["--ct", str(case / "ct.nrrd"), "--xray", str(case / "xray.dcm"), *out]
    how = ["--preset", "xvr", "--training", '{"batch_size": 8, "parts": 2}', "--until", "12", "--minutes", "3"]
    more = ["--segmentation", str(tmp_path / "labels.nrrd"), "--angles-of-xray"]
    assert main(["prepare", *files, *how, *more]) == 0
    settings, pose_range = recorder.settings, recorder.prepared[0][2]
    assert (settings.backbone, settings.batch_size, settings.until_mm, settings.minutes) == ("resnet34", 8, 12, 3)
    assert pose_range.translation_mm == (150, 275, 150) and recorder.labels.max() == 1
    np.testing.assert_allclose(pose_range.centre[:3, :3], np.array(truth["camera_to_world_ras_mm"])[:3, :3], atol=1e-3)
    text = capsys.readouterr().out
    assert "positioner angles" in text and "median 8.0 mm" in text and "11.0 and 30.0 mm" in text
    assert main(["prepare", *files, "--rotation", "5", "5", "5", "--distribution", "gaussian"]) == 0
    assert recorder.prepared[1][2].distribution == "gaussian" and recorder.settings.minutes == 5
    for wrong, words in (
        (["--until", "-3"], "--until"),
        (["--training", "{nothing"], "--training"),
        (["--training", '{"no_such": 1}'], "'no_such' is not known"),
        (["--mapping", "pet"], "'pet' is neither"),
    ):
        assert main(["prepare", *files, *wrong]) == 2
        assert words in capsys.readouterr().err


def test_options_for_reading_an_xray_arrive(recorder, tmp_path):
    picture = np.random.default_rng(0).integers(1, 60000, (64, 64)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(picture), str(tmp_path / "x.png"))
    camera = {"rows": 64, "columns": 64, "intrinsic_matrix_px": [[200, 0, 30], [0, 200, 31], [0, 0, 1]]}
    (tmp_path / "rig.json").write_text(json.dumps({"views": {"a": {}, "b": camera}}), encoding="utf-8")
    assert main(["simulate", "--phantom", "0", "--out", str(tmp_path / "case")]) == 0
    options = ["--camera", f"{tmp_path / 'rig.json'}:b", "--viewed-from", "detector", "--polarity", "bright-is-bone"]
    files = ["--ct", str(tmp_path / "case" / "ct.nrrd"), "--xray", str(tmp_path / "x.png")]
    assert main(["register", *files, "--initial", str(tmp_path / "case" / "truth.json"), *options]) == 0
    xray = recorder.registered[0][1]
    assert xray.camera.viewed_from == "detector" and xray.camera.principal_point_px == (30, 31)
    brightest = np.unravel_index(np.argmax(np.where(xray.mask, picture, 0)), picture.shape)
    assert xray.attenuation[brightest] >= np.percentile(xray.attenuation[xray.mask], 99)
