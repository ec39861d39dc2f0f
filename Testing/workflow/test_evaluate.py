"""Evaluation: errors against hand-computed ones, statistics, independence of the order of cases."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.datasets.case_folder import find_cases
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.volume_mapping import VolumeMapping
from DiffPoseRegistrationLib.workflow.evaluate import evaluate
from DiffPoseRegistrationLib.workflow.summary import table
from stand_ins import install_register, result


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Two cases of one generated patient and one of another CT."""
    folder = tmp_path_factory.mktemp("cases")
    camera = {"source_to_detector_mm": 1000, "rows": 64, "columns": 64, "pixel_spacing_mm": [5.0, 5.0]}
    (folder / "camera.json").write_text(json.dumps(camera), encoding="utf-8")
    for name, seed in (("one", 1), ("two", 2), ("other", 3)):
        options = ["--camera", str(folder / "camera.json"), "--random", "5", "5", "--seed", str(seed)]
        assert main(["simulate", "--phantom", "0", *options, "--out", str(folder / name)]) == 0
    truth = json.loads((folder / "other" / "truth.json").read_text(encoding="utf-8"))
    (folder / "other" / "truth.json").write_text(json.dumps({**truth, "ct": "another.nrrd"}), encoding="utf-8")
    return folder


def _shifted_by(millimetres):
    """A registration that ends with the patient this far from the truth in the camera's frame, wherever it
    starts; it knows the truth from the case's own X-ray name."""

    def install(monkeypatch, cases):
        poses = [np.array(case.truth.camera_to_world) for case in cases]
        calls = []

        def register(ct, views, *, model=None, initial=None, **_):
            calls.append(initial)
            truth = min(poses, key=lambda pose: np.abs(pose - initial).sum())
            found = truth.copy()
            found[:3, 3] += millimetres * truth[:3, 0]  # along the camera's x: in plane
            return result(found, initial, views[0].xray)

        install_register(monkeypatch, register)
        return calls

    return install


def test_a_ct_is_read_by_the_mapping_of_its_model(cases, tmp_path, monkeypatch):
    """Of two models the one is taken that was made for this very volume, read by its own mapping."""
    (case,) = find_cases([cases / "one"])
    other = VolumeMapping("table", ((-1000.0, -1000.0), (1000.0, 2000.0)))
    path, pose = cases / "one" / "ct.nrrd", np.array(case.truth.camera_to_world)
    known = {mapping: read_ct(path, mapping).fingerprint for mapping in (VolumeMapping(), other)}
    models = [
        SimpleNamespace(mapping=VolumeMapping(), ct_fingerprint="of another", ct_name="another"),
        SimpleNamespace(mapping=other, ct_fingerprint=known[other], ct_name="mine"),
    ]
    seen = []

    def register(ct, views, *, model=None, **_):
        seen.append((ct.fingerprint, model))
        return result(pose, pose, views[0].xray)

    install_register(monkeypatch, register)
    evaluate(path, [cases / "one"], tmp_path / "a", models=models)
    assert known[other] != known[VolumeMapping()] and seen == [(known[other], models[1])]
    with pytest.raises(InputError, match=r"No model was made for ct\.nrrd \(made for: another\)"):
        evaluate(path, [cases / "one"], tmp_path / "b", models=models[:1])


def test_rows_and_summary(cases, tmp_path, monkeypatch):
    folders = [cases / "one", cases / "two"]
    _shifted_by(1.5)(monkeypatch, find_cases(folders))
    lines = []
    summary = evaluate(cases / "one" / "ct.nrrd", folders, tmp_path, perturb=(1, 1), starts=3, say=lines.append)
    assert lines == []
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    # A shift of the camera by 1.5 mm across the beam moves every landmark by 1.5 mm across the beam.
    for row in rows:
        assert float(row["tre_mm"]) == pytest.approx(1.5)
        assert float(row["in_plane_mm"]) == pytest.approx(1.5)
        assert float(row["depth_mm"]) == pytest.approx(0, abs=1e-9)
        assert float(row["rotation_deg"]) == pytest.approx(0, abs=1e-5)
        assert float(row["xvr_mtre_mm"]) == pytest.approx(1.5)  # a shift is the same to everyone
        assert float(row["projection_error_mm"]) == pytest.approx(float(row["xvr_mpe_mm"]))
        assert 0 < float(row["initial_tre_mm"]) < 10
    overall = summary["overall"]
    assert overall["success_1mm"] == 0 and overall["success_2mm"] == 1 and overall["gross_10mm"] == 0
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["overall"] == overall
    assert "all" in table(summary)


def test_misposed_control_fails(cases, tmp_path, monkeypatch):
    _shifted_by(25.0)(monkeypatch, find_cases([cases / "one"]))
    summary = evaluate(cases / "one" / "ct.nrrd", [cases / "one"], tmp_path, perturb=(1, 1))
    assert summary["overall"]["success_2mm"] == 0 and summary["overall"]["gross_10mm"] == 1


def test_starts_do_not_depend_on_the_order_of_cases(cases, tmp_path, monkeypatch):
    folders = [cases / "one", cases / "two"]
    calls = _shifted_by(0.0)(monkeypatch, find_cases(folders))
    ct = cases / "one" / "ct.nrrd"
    evaluate(ct, folders, tmp_path, perturb=(15, 30), starts=2, seed=4)
    evaluate(ct, folders[::-1], tmp_path, perturb=(15, 30), starts=2, seed=4)
    evaluate(ct, folders, tmp_path, perturb=(15, 30), starts=2, seed=5)
    first, second, third = calls[:4], calls[4:8], calls[8:]
    np.testing.assert_array_equal(first, second[2:] + second[:2])
    assert all(np.abs(a - b).max() > 0.1 for a, b in zip(first, third))


def test_cases_of_another_ct_are_left_out_aloud(cases, tmp_path, monkeypatch):
    _shifted_by(0.0)(monkeypatch, find_cases([cases / "one"]))
    lines = []
    ct = cases / "one" / "ct.nrrd"
    summary = evaluate(ct, [cases / "other", cases / "one"], tmp_path, perturb=(1, 1), say=lines.append)
    assert summary["overall"]["trials"] == 1
    assert "another.nrrd" in lines[0]
    with pytest.raises(InputError, match=r"None of the cases belongs to .* another.nrrd"):
        evaluate(ct, [cases / "other"], tmp_path, perturb=(1, 1))


def test_a_folder_of_cts_gives_each_case_its_own(cases, tmp_path, monkeypatch):
    _shifted_by(0.0)(monkeypatch, find_cases([cases / "one"]))
    lines = []
    summary = evaluate(cases / "one", [cases / "one", cases / "other"], tmp_path, perturb=(1, 1), say=lines.append)
    assert list(summary["by_ct"]) == ["ct.nrrd"] and len(lines) == 1


def test_a_case_that_cannot_be_registered_is_a_failure(cases, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise InputError("nothing to see")

    install_register(monkeypatch, refuse)
    summary = evaluate(cases / "one" / "ct.nrrd", [cases / "one"], tmp_path, perturb=(1, 1))
    assert summary["overall"]["failed"] == 1 and summary["overall"]["gross_10mm"] == 1
    assert "nothing to see" in (tmp_path / "trials.csv").read_text(encoding="utf-8")
    assert "no pose" in table(summary)


def test_views_together_are_one_exposure_placed_as_calibrated(cases, tmp_path, monkeypatch):
    """Two cameras in a lab; what the registration is handed puts each where its own truth says."""
    truths = [json.loads((cases / name / "truth.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    poses = [np.array(truth["camera_to_world_ras_mm"]) for truth in truths]
    lab_to_world = poses[1] @ poses[0]  # any rigid matrix

    def folder(name, calibrated):
        views = {}
        for n, truth in enumerate(truths):
            views[f"v{n}"] = {**truth, "image": f"../{('one', 'two')[n]}/xray.dcm"}
            if calibrated:
                views[f"v{n}"]["lab_to_camera_mm"] = (np.linalg.inv(poses[n]) @ lab_to_world).tolist()
        (cases / name).mkdir()
        content = json.dumps({"ct": truths[0]["ct"], "views": views})
        (cases / name / "truth.json").write_text(content, encoding="utf-8")
        return cases / name

    handed = []

    def register(ct, views, *, model=None, initial=None, method="lm", **_):
        handed.append((views, method))
        return result(poses[0], initial, views[0].xray)

    install_register(monkeypatch, register)
    for name, calibrated in (("rig", True), ("posed", False)):
        summary = evaluate(
            cases / "one" / "ct.nrrd", [folder(name, calibrated)], tmp_path / name, perturb=(2, 2), starts=2,
            together=True, method="adam-xvr", within=(0.1, 0.1),
        )  # fmt: skip
        assert list(summary["by_case"]) == [name] and summary["overall"]["trials"] == 2
        assert summary["overall"]["within"]["share"] == 1 and summary["settings"]["method"] == "adam-xvr"
        views, method = handed[-1]
        assert len(views) == 2 and method == "adam-xvr"
        np.testing.assert_allclose(poses[0] @ views[1].from_first, poses[1], atol=1e-6)
        np.testing.assert_allclose(views[0].from_first, np.eye(4), atol=1e-9)
    alone = evaluate(cases / "one" / "ct.nrrd", [cases / "rig"], tmp_path / "alone", perturb=(2, 2))
    assert list(alone["by_case"]) == ["rig:v0", "rig:v1"] and len(handed[-1][0]) == 1


def test_views_of_the_wrist_are_cases_of_their_own(shared):
    cases = find_cases([shared / "data" / "wrist"])
    assert [case.name for case in cases] == ["wrist:cam1", "wrist:cam2"]
    assert [case.image.name for case in cases] == ["xray_cam1.png", "xray_cam2.png"]
    assert {case.ct_name for case in cases} == {"radius.nrrd"}


def test_disturbed_x_rays_and_impostors_are_told_apart(cases, tmp_path, monkeypatch):
    """The stand-in accepts whatever it is given: mirrored X-rays and other patients' come out as accepted."""
    folders = [cases / name for name in ("one", "two", "other")]
    for name in ("one", "another"):
        (tmp_path / "cts").mkdir(exist_ok=True)
        shutil.copy(cases / "one" / "ct.nrrd", tmp_path / "cts" / f"{'ct' if name == 'one' else name}.nrrd")
    _shifted_by(1.5)(monkeypatch, find_cases(folders))
    options = {"perturb": (1, 1), "disturb": ["label"], "impostors": True}
    summary = evaluate(tmp_path / "cts", folders, tmp_path / "out", **options)
    assert {kind: group["trials"] for kind, group in summary["by_disturbance"].items()} == {"none": 3, "label": 3}
    assert summary["overall"]["trials"] == 6 and summary["overall"]["success_2mm"] == 1
    nothing = {"refused": 0, "check": 0, "reject": 0}
    assert summary["impostors"] == {
        "flipped": {"trials": 3, "accept": 3, **nothing},
        "other patient": {"trials": 3, "accept": 3, **nothing},
    }
    assert "flipped: 3 of 3 accepted" in table(summary)
    assert len(list((tmp_path / "out" / "disturbed" / "label").rglob("*.*"))) == 3
    chart = (tmp_path / "out" / "predicted-error.svg").read_text(encoding="utf-8")
    assert "ct.nrrd (4)" in chart and "another.nrrd (2)" in chart  # impostors have no true error
    plain = evaluate(tmp_path / "cts", folders, tmp_path / "plain", perturb=(1, 1))
    assert "impostors" not in plain and "by_disturbance" not in plain
