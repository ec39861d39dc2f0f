"""The data sets' commands, from the file to the report, reproduce the poses that were planted."""

import csv
import json
import shutil

import numpy as np
import pytest
from DiffPoseRegistrationLib.commandline.main import main
from scipy.spatial.transform import Rotation


def _trials(folder):
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _require_report(folder, worst):
    page = (folder / "report.html").read_text(encoding="utf-8")
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 and len(list((folder / "figures").glob("*.svg"))) == 3
    for number in range(1, worst + 1):
        for what in ("found", "true"):
            name = f"worst/{number}-{what}.png"
            assert (folder / name).read_bytes().startswith(b"\x89PNG") and name in page and name in markdown
    return markdown


def test_deepfluoro_reproduces_what_was_planted(deepfluoro, tmp_path, capsys):
    command = ["dataset", "deepfluoro", "--data", str(deepfluoro.path), "--perturb", "6", "12", "--worst", "1"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    rows = _trials(tmp_path)
    assert [(row["subject"], row["frame"]) for row in rows] == [
        ("17-1882", "000"), ("17-1882", "001"), ("18-2799", "005")
    ]  # fmt: skip
    # Half a voxel of these is 3.5 mm: whoever leaves the correction out ends there.
    assert all(float(row["tre_mm"]) < 1.0 and float(row["initial_tre_mm"]) > 3.0 for row in rows)
    assert all(float(row["projection_error_mm"]) < 1.0 for row in rows)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["overall"]["success_1mm"] == 1 and list(summary["by_subject"]) == ["17-1882", "18-2799"]
    assert summary["excluded"] == {"17-1882/003": "its ground truth is questionable"}
    assert "Left out before the run: 17-1882/003" in _require_report(tmp_path, 1)
    assert "18-2799" in capsys.readouterr().out


def test_deepfluoro_with_misposed_ground_truth_fails(deepfluoro, tmp_path):
    """Control: 5 degrees and 5 mm off, the same run finds the patient where the X-rays show him, not where it says."""
    import h5py

    shutil.copy(deepfluoro.path, tmp_path / "misposed.h5")
    off = np.eye(4)
    off[:3, :3], off[:3, 3] = Rotation.from_euler("y", 5, degrees=True).as_matrix(), (5.0, 0, 0)
    with h5py.File(tmp_path / "misposed.h5", "r+") as file:
        centre = file["18-2799/vol/origin"][()].ravel() + 0.5 * 4.0 * (np.array([80, 60, 80]) - 1)
        about = np.eye(4)
        about[:3, 3] = centre
        pose = file["18-2799/projections/005/gt-poses/cam-to-pelvis-vol"]
        pose[...] = about @ off @ np.linalg.inv(about) @ pose[...]
    command = ["dataset", "deepfluoro", "--data", str(tmp_path / "misposed.h5"), "--subjects", "18-2799"]
    assert main([*command, "--perturb", "6", "12", "--worst", "1", "--out", str(tmp_path / "out")]) == 0
    (row,) = _trials(tmp_path / "out")
    assert float(row["tre_mm"]) > 4.0 and float(row["rotation_deg"]) == pytest.approx(5.0, abs=0.5)


def test_ljubljana_reproduces_what_was_planted(ljubljana, tmp_path):
    command = ["dataset", "ljubljana", "--data", str(ljubljana.path), "--perturb", "5", "8", "--subjects", "subject01"]
    assert main([*command, "--worst", "1", "--out", str(tmp_path)]) == 0
    rows = _trials(tmp_path)
    assert [(row["subject"], row["view"]) for row in rows] == [("subject01", "ap"), ("subject01", "lat")]
    # Half a voxel is 1.3 mm; the principal point on the wrong side would be 20 mm.
    assert all(float(row["projection_error_mm"]) < 0.6 and float(row["tre_mm"]) < 2.0 for row in rows)
    assert "Mitrović" in _require_report(tmp_path, 1)


def test_bad_input_is_one_sentence(deepfluoro, tmp_path, capsys):
    command = ["dataset", "deepfluoro", "--data", str(deepfluoro.path), "--out", str(tmp_path / "out")]
    assert main([*command, "--split", "held-out"]) == 2  # specimen 18-1109 is not in the miniature
    assert "no subject 18-1109" in capsys.readouterr().err
    assert main([*command, "--perturb", "500", "1"]) == 2
    assert main([*command, "--limit", "0"]) == 2
    assert main([*command, "--minutes", "nan"]) == 2
    assert not (tmp_path / "out").exists()
