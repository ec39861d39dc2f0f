"""The headless tool: help, bad inputs as one sentence with exit code 2, reports."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.commandline import demo
from DiffPoseRegistrationLib.commandline.main import main


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command line")
    camera = {"source_to_detector_mm": 1000, "rows": 64, "columns": 64, "pixel_spacing_mm": [5.0, 5.0]}
    (folder / "camera.json").write_text(json.dumps(camera), encoding="utf-8")
    options = ["--phantom", "1", "--camera", str(folder / "camera.json"), "--angles", "-8", "5", "0"]
    assert main(["simulate", *options, "--out", str(folder / "case")]) == 0
    return folder


def _sentence(capsys, arguments, *words):
    """The command ends with exit code 2 and one sentence that has ``words``."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("diffpose: ")
    for word in words:
        assert str(word) in lines[0], lines[0]


def test_many_xrays_at_once_are_cases_each_at_its_own_pose_alike_as_a_job(tmp_path, capsys):
    camera = {"source_to_detector_mm": 1020, "rows": 24, "columns": 32, "pixel_spacing_mm": [12.0, 12.0]}
    (tmp_path / "camera.json").write_text(json.dumps(camera), encoding="utf-8")
    options = ["--phantom", "0", "--camera", str(tmp_path / "camera.json"), "--random", "10", "20", "--count", "3"]
    direct, by_job = tmp_path / "direct", tmp_path / "by job"
    assert main(["simulate", *options, "--out", str(direct)]) == 0
    assert main(["simulate", *options, "--out", str(by_job), "--job", str(tmp_path / "job")]) == 0
    poses = []
    for number in range(3):
        case = f"case-{number:04d}"
        truth = json.loads((direct / case / "truth.json").read_text(encoding="utf-8"))
        poses.append(truth["camera_to_world_ras_mm"])
        assert truth["ct"] == "ct.nrrd" and len(truth["landmarks_ras_mm"]) == 20
        first, second = (pydicom.dcmread(place / case / "xray.dcm") for place in (direct, by_job))
        assert first.PixelData == second.PixelData and len(set(first.pixel_array.ravel())) > 50
        again = json.loads((by_job / case / "truth.json").read_text(encoding="utf-8"))
        np.testing.assert_allclose(again["camera_to_world_ras_mm"], poses[-1], atol=1e-9)
        for name in ("ct", "image", "camera", "landmarks_ras_mm"):
            assert again[name] == truth[name]
    assert np.abs(np.array(poses[0]) - poses[1]).max() > 1 and np.abs(np.array(poses[1]) - poses[2]).max() > 1
    for wrong, word in ((["--count", "0"], "--count"), (["--out", str(direct)], "holds cases already")):
        assert main(["simulate", *options, "--out", str(tmp_path / "other"), *wrong]) == 2
        assert word in capsys.readouterr().err


@pytest.mark.parametrize("command", ["simulate", "prepare", "register", "evaluate", "info", "jobs"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert command == "jobs" or f"diffpose {command}" in text.split("examples:")[1]


def test_missing_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


def test_simulated_case_says_what_it_is(case, capsys):
    folder = case / "case"
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    assert sorted(p.name for p in folder.iterdir()) == ["ct.nrrd", "truth.json", "xray.dcm"]
    assert len(truth["landmarks_ras_mm"]) == 20 and truth["image"] == "xray.dcm"
    ct = sitk.ReadImage(str(folder / "ct.nrrd"))
    assert ct.GetSize() == (160, 120, 160) and ct.GetSpacing() == (2.0, 2.0, 2.0)
    # The centre (9, -21, 134) in RAS is (-9, 21, 134) in ITK's LPS.
    centre = ct.TransformContinuousIndexToPhysicalPoint([79.5, 59.5, 79.5])
    assert centre == pytest.approx((-9.0, 21.0, 134.0))
    assert main(["info", *(str(p) for p in sorted(folder.iterdir()))]) == 0
    text = capsys.readouterr().out
    assert "Distance Source to Detector (0018,1110)" in text and "20 landmarks" in text and "160 x 120 x 160" in text


def test_principal_point_off_centre_goes_into_a_png(case, tmp_path):
    camera = {
        "source_to_detector_mm": 1000, "rows": 64, "columns": 80, "pixel_spacing_mm": [5.0, 5.0],
        "principal_point_px": [30, 30],
    }  # fmt: skip
    (tmp_path / "camera.json").write_text(json.dumps(camera), encoding="utf-8")
    options = ["--ct", case / "case" / "ct.nrrd", "--camera", tmp_path / "camera.json", "--out", tmp_path / "out"]
    assert main([str(o) for o in ["simulate", *options]]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["truth.json", "xray.png"]
    assert sitk.ReadImage(str(tmp_path / "out" / "xray.png")).GetSize() == (80, 64)


def test_viewed_from_the_detector_is_mirrored(case, tmp_path):
    camera = json.loads((case / "camera.json").read_text(encoding="utf-8"))
    (tmp_path / "camera.json").write_text(json.dumps({**camera, "viewed_from": "detector"}), encoding="utf-8")
    pictures = []
    for name, camera_file in (("source", case / "camera.json"), ("detector", tmp_path / "camera.json")):
        options = [
            "--ct",
            case / "case" / "ct.nrrd",
            "--camera",
            camera_file,
            "--photons",
            "0",
            "--angles",
            "9",
            "0",
            "0",
        ]
        assert main([str(o) for o in ["simulate", *options, "--out", tmp_path / name]]) == 0
        pictures.append(
            sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name / "xray.dcm"))).squeeze().astype(float)
        )
    np.testing.assert_allclose(pictures[0], pictures[1][:, ::-1], rtol=0.01, atol=2)
    assert np.abs(pictures[0] - pictures[1]).max() > 1000


def test_missing_files(case, tmp_path, capsys):
    ct, xray, truth = (case / "case" / name for name in ("ct.nrrd", "xray.dcm", "truth.json"))
    nowhere = tmp_path / "nowhere.nrrd"
    start = ["--initial", truth, "--out", tmp_path / "out"]
    _sentence(capsys, ["register", "--ct", nowhere, "--xray", xray, *start], nowhere, "does not exist")
    _sentence(capsys, ["register", "--ct", ct, "--xray", nowhere, *start], nowhere, "does not exist")
    _sentence(capsys, ["register", "--ct", ct, "--xray", xray, "--initial", nowhere], nowhere)
    _sentence(capsys, ["prepare", "--ct", nowhere, "--camera", truth, "--out", tmp_path / "m.safetensors"], nowhere)
    _sentence(capsys, ["evaluate", "--ct", ct, "--cases", tmp_path, "--perturb", 5, 5, "--out", tmp_path], "truth.json")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []


def test_wrong_kinds_of_file(case, tmp_path, capsys):
    ct, xray, truth = (case / "case" / name for name in ("ct.nrrd", "xray.dcm", "truth.json"))
    picture = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype(np.uint8))
    sitk.WriteImage(picture, str(tmp_path / "grey.nrrd"))
    start = ["--initial", truth, "--out", tmp_path / "out"]
    _sentence(capsys, ["register", "--ct", tmp_path / "grey.nrrd", "--xray", xray, *start], "grey.nrrd", "Hounsfield")
    _sentence(capsys, ["register", "--ct", ct, "--xray", ct, "--camera", truth, *start], "ct.nrrd", "2D image")
    sitk.WriteImage(picture[:, :, 3], str(tmp_path / "bare.png"))
    _sentence(capsys, ["register", "--ct", ct, "--xray", tmp_path / "bare.png", *start], "bare.png", "--camera")
    pixels = np.ones((64, 64), np.float32)
    pixels[3, 4] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / "nan.mha"))
    arguments = ["register", "--ct", ct, "--xray", tmp_path / "nan.mha", "--camera", truth, *start]
    _sentence(capsys, arguments, "nan.mha", "not finite")
    assert list((tmp_path / "out").iterdir()) == []


def test_unwritable_targets_are_found_before_any_work(case, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    ct, xray, truth = (case / "case" / name for name in ("ct.nrrd", "xray.dcm", "truth.json"))
    blocked = tmp_path / "file" / "out"
    # The CT does not exist either: that it is not complained about shows what is looked at first.
    _sentence(
        capsys, ["register", "--ct", "no", "--xray", xray, "--initial", truth, "--out", blocked], blocked, "--out"
    )
    _sentence(capsys, ["prepare", "--ct", "no", "--xray", xray, "--out", blocked / "m.safetensors"], blocked, "--out")
    _sentence(capsys, ["prepare", "--ct", ct, "--xray", xray, "--out", tmp_path / "m.bin"], "m.bin", ".safetensors")
    _sentence(capsys, ["evaluate", "--ct", ct, "--cases", "no", "--perturb", 1, 1, "--out", blocked], blocked)
    assert demo.main(["--out", str(blocked)]) == 2


def test_numbers_that_make_no_sense(case, tmp_path, capsys):
    ct, xray = case / "case" / "ct.nrrd", case / "case" / "xray.dcm"
    prepare = ["prepare", "--ct", ct, "--xray", xray, "--out", tmp_path / "m.safetensors"]
    _sentence(capsys, [*prepare, "--minutes", "nan"], "--minutes")
    _sentence(capsys, [*prepare, "--rotation", 10, 10, "nan"], "rotation_deg")
    _sentence(capsys, [*prepare, "--source-to-isocentre", -5], "--source-to-isocentre")
    _sentence(capsys, ["prepare", "--ct", ct, "--out", tmp_path / "m.safetensors"], "--camera")
    _sentence(capsys, ["simulate", "--ct", ct, "--photons", -1, "--out", tmp_path], "photons")
    assert demo.main(["--ct", str(ct)]) == 2


def test_info_reports_each_file_and_fails_if_one_cannot_be_read(case, tmp_path, capsys):
    assert main(["info", str(tmp_path / "nowhere.dcm"), str(case / "case" / "ct.nrrd")]) == 2
    text = capsys.readouterr().out
    assert "cannot be used" in text and "160 x 120 x 160" in text


def test_faults_leave_a_log_for_its_owner_without_a_patients_name_and_no_traceback(tmp_path, monkeypatch, capsys):
    ct = tmp_path / "Müller Jörg.nrrd"

    def fail(args):
        raise RuntimeError(f"a fault\nwith {args.files[0]}, that is {ct.name}")

    monkeypatch.setattr("DiffPoseRegistrationLib.commandline.info.run", fail)
    monkeypatch.setattr(sys, "argv", ["diffpose", "info", str(ct)])
    assert main(sys.argv[1:]) == 1
    message = capsys.readouterr().err
    assert "RuntimeError: a fault" in message and "Traceback" not in message
    log = Path(message.strip().rsplit(" ", 1)[1])
    text = log.read_text(encoding="utf-8")
    assert "Traceback" in text and "with <input>, that is <input>" in text and "ller" not in text
    assert os.name == "nt" or log.stat().st_mode & 0o077 == 0
    log.unlink()


def test_ctrl_c(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("DiffPoseRegistrationLib.commandline.info.run", interrupt)
    assert main(["info", "x"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_the_open_field_can_be_given(case, capsys):
    xray = next((case / "case").glob("xray.*"))
    assert main(["info", str(xray), "--open-field", "70000"]) == 0
    assert "I0 = 70000, as given" in capsys.readouterr().out
    assert main(["info", str(xray), "--open-field", "nan"]) == 2
    assert "give the value of a pixel without patient" in capsys.readouterr().out
    prepared = ["prepare", "--ct", case / "no.nrrd", "--xray", xray, "--open-field", "-1"]
    assert main([str(a) for a in [*prepared, "--out", case / "m.safetensors"]]) == 2
