"""One's own cases as a data set."""

import csv
import json

import numpy as np
import pytest
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.datasets.case_folder import read_case_folders
from DiffPoseRegistrationLib.datasets.dataset import Prior
from DiffPoseRegistrationLib.errors import InputError


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A folder of three cases of one generated patient, the last by another camera."""
    folder = tmp_path_factory.mktemp("cases")
    for n, (name, pixels) in enumerate((("one", 64), ("two", 64), ("three", 80))):
        camera = {"source_to_detector_mm": 1000, "rows": pixels, "columns": pixels, "pixel_spacing_mm": [5.0, 5.0]}
        (folder / "camera.json").write_text(json.dumps(camera), encoding="utf-8")
        options = ["--camera", str(folder / "camera.json"), "--random", "5", "5", "--seed", str(n)]
        assert main(["simulate", "--phantom", "0", *options, "--out", str(folder / "cases" / name)]) == 0
    return folder


def test_a_folder_of_cases(cases):
    prior = Prior("AP", 700.0, (20, 20, 20), (30, 30, 30), "a test")
    dataset = read_case_folders(cases / "cases" / "one" / "ct.nrrd", [cases / "cases"], prior=prior)
    (subject,) = dataset.subjects
    assert subject.name == "ct.nrrd" and sorted(f.name for f in subject.frames) == ["one", "three", "two"]
    views = {frame.name: frame.view for frame in subject.frames}
    assert views["one"] == views["two"] != views["three"] and set(dataset.priors) == set(views.values())
    frame = subject.frames[0]
    truth = json.loads((cases / "cases" / "one" / "truth.json").read_text(encoding="utf-8"))
    np.testing.assert_allclose(frame.truth.camera_to_world, truth["camera_to_world_ras_mm"])
    assert frame.read().attenuation.shape == (64, 64) and subject.read_ct().size_ijk == (160, 120, 160)


def test_folders_without_cases(cases, tmp_path):
    with pytest.raises(InputError, match=r"holds no truth\.json"):
        read_case_folders(cases / "cases" / "one" / "ct.nrrd", [tmp_path])
    with pytest.raises(InputError, match=r"None of the cases belongs to .*other\.nrrd"):
        read_case_folders(cases / "other.nrrd", [cases / "cases"])


def test_the_command(cases, tmp_path, capsys):
    given = ["dataset", "cases", "--ct", str(cases / "cases" / "one" / "ct.nrrd"), "--cases", str(cases / "cases")]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    assert "give --source-to-isocentre MM" in capsys.readouterr().err
    assert main([*given, "--perturb", "3", "5", "--limit", "2", "--worst", "1", "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "trials.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["frame"] for row in rows] == ["one", "two"] and all(float(row["tre_mm"]) < 2 for row in rows)
    assert (tmp_path / "out" / "report.html").exists() and (tmp_path / "out" / "worst" / "1-found.png").exists()
