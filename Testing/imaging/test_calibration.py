"""Cameras whose places to one another are known: MayaCam and JSON files, and which X-rays may share a pose."""

import json
from dataclasses import replace

import numpy as np
import pytest
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.imaging.calibration import Placement, are_calibrated, read_placement
from DiffPoseRegistrationLib.imaging.camera_file import read_camera
from DiffPoseRegistrationLib.imaging.mayacam import read_mayacam, write_mayacam
from DiffPoseRegistrationLib.imaging.pose_file import read_pose

MAYACAM = """image size
640,480

camera matrix
6000.5,0,300.25
0,5990,250
0,0,1

rotation
0,-1,0
1,0,0
0,0,1

translation
10
-20
900
"""


def _write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_mayacam_projects_as_its_matrices_say(tmp_path):
    path = _write(tmp_path / "cam1.txt", MAYACAM)
    camera, place = read_camera(path), read_placement(path)
    assert (camera.rows, camera.columns) == (480, 640)
    point = np.array([15.0, -25.0, 60.0])
    k = np.array([[6000.5, 0, 300.25], [0, 5990, 250], [0, 0, 1]])
    homogeneous = k @ (np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ point + [10, -20, 900])
    in_camera = rigid.transform_points(rigid.inverse(place.camera_to_lab), point[None])
    np.testing.assert_allclose(camera.project(in_camera)[0], homogeneous[:2] / homogeneous[2], atol=1e-9)
    # The control: with the rotation transposed it is another pixel.
    wrong = in_camera[0] * [-1, -1, 1] + [20, -40, 0]
    assert np.abs(camera.project(wrong) - homogeneous[:2] / homogeneous[2]).max() > 10


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.replace("translation\n10\n", "translation\n"), ["2 numbers under 'translation'", "3"]),
        (lambda t: t.replace("rotation", "turn"), ["0 numbers under 'rotation'"]),
        (lambda t: t.replace("0,-1,0", "0,-2,0"), ["scales or shears"]),
        (lambda t: t.replace("0,-1,0", "0,1,0"), ["reflection"]),
        (lambda t: t.replace("6000.5", "six"), ["numbers under 'camera matrix'"]),
        (lambda t: t.replace("5990", "59x90"), ["no MayaCam 2.0 file that can be read"]),
        (lambda t: t + "\ndistortion\n0.01,0,0\n", ["undistort"]),
        (lambda t: t.replace("640,480", "640,480.5"), ["whole number"]),
    ],
)
def test_a_spoilt_mayacam_is_one_sentence(tmp_path, spoil, words):
    path = _write(tmp_path / "cam1.txt", spoil(MAYACAM))
    with pytest.raises(InputError) as refused:
        read_placement(path)
    for word in [*words, "cam1.txt"] if "whole number" not in words else words:
        assert word in str(refused.value)


def test_a_text_file_that_is_none_is_said_to_be_no_camera(tmp_path):
    path = _write(tmp_path / "notes.txt", "to do: calibrate\n")
    with pytest.raises(InputError, match=r"notes.txt is no readable JSON"):
        read_camera(path)


def test_json_places_and_the_lab_they_are_in(tmp_path):
    camera = {"rows": 4, "columns": 5, "source_to_detector_mm": 1000, "pixel_spacing_mm": [1, 1]}
    turned = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    views = {"a": {**camera, "lab_to_camera_mm": turned}, "b": camera}
    path = _write(tmp_path / "rig.json", json.dumps({"views": views}))
    np.testing.assert_allclose(read_placement(f"{path}:a").camera_to_lab, np.linalg.inv(turned), atol=1e-12)
    assert read_placement(f"{path}:a").lab == str(path.resolve()) and read_placement(f"{path}:b") is None
    named = _write(tmp_path / "named.json", json.dumps({"lab": "room 3", "views": views}))
    assert read_placement(f"{named}:a").lab == "room 3"
    skewed = _write(tmp_path / "skew.json", json.dumps({**camera, "lab_to_camera_mm": np.diag([2, 1, 1, 1]).tolist()}))
    with pytest.raises(InputError, match=r"lab_to_camera_mm of skew.json scales or shears"):
        read_placement(skewed)


def _place(x, lab="one"):
    pose = np.eye(4)
    pose[0, 3] = x
    return Placement(pose, lab)


def test_xrays_share_a_pose_only_in_one_lab_and_from_different_places():
    names = ["a.png", "b.png", "c.png"]
    assert are_calibrated(names, [_place(0), _place(1), _place(2)])
    assert not are_calibrated(names, [None, None, None])
    assert not are_calibrated(names[:1], [_place(0)])
    with pytest.raises(InputError, match=r"camera of b.png stands is not known.*lab_to_camera_mm.*--separately"):
        are_calibrated(names, [_place(0), None, _place(2)])
    with pytest.raises(InputError, match=r"a.png and c.png are calibrated in different labs \(one and two\)"):
        are_calibrated(names, [_place(0), _place(1), _place(2, "two")])
    with pytest.raises(InputError, match=r"b.png and c.png have cameras in the very same place"):
        are_calibrated(names, [_place(0), _place(1), _place(1)])


def test_the_wrists_files_say_the_same(shared, capsys):
    """The calibration files as the lab saved them, against the cameras and reference poses of ``truth.json``."""
    wrist = shared / "data" / "wrist"
    places = {view: read_placement(wrist / f"calibration_{view}.txt") for view in ("cam1", "cam2")}
    for view, place in places.items():
        spec = f"{wrist / 'truth.json'}:{view}"
        np.testing.assert_allclose(read_placement(spec).camera_to_lab, place.camera_to_lab, atol=1e-6)
        points = np.random.default_rng(0).normal(size=(5, 3)) * 20 + [0, 0, 900]
        by_file = read_camera(wrist / f"calibration_{view}.txt").project(points)
        np.testing.assert_allclose(read_camera(spec).project(points), by_file, atol=1e-6)
    labs_to_world = [
        read_pose(f"{wrist / 'truth.json'}:{v}") @ np.linalg.inv(p.camera_to_lab) for v, p in places.items()
    ]
    np.testing.assert_allclose(*labs_to_world, atol=1e-4)
    assert are_calibrated(list(places), list(places.values()))
    assert main(["info", str(wrist / "calibration_cam1.txt")]) == 0
    text = capsys.readouterr().out
    assert "1760 x 1760" in text and "camera to lab" in text and "803.741" in text


def test_projection_matrix_is_camera_and_pose(tmp_path, capsys):
    """Written from a MayaCam 2.0 file, read as camera and pose, and written back: every file says the same."""
    cam1 = _write(tmp_path / "cam1.txt", MAYACAM)
    assert main(["info", str(cam1), "--write-camera", str(tmp_path / "a.json")]) == 0
    written = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    k = np.array([[6000.5, 0, 300.25], [0, 5990, 250], [0, 0, 1]])
    turn = np.array([[0.0, -1, 0, 10], [1, 0, 0, -20], [0, 0, 1, 900]])
    np.testing.assert_allclose(written["projection_matrix_px"], k @ turn, atol=1e-6)
    alone = {"projection_matrix_px": (k @ turn).tolist(), "rows": 480, "columns": 640}
    (tmp_path / "matrix.json").write_text(json.dumps(alone), encoding="utf-8")
    for name in ("a.json", "matrix.json"):
        camera = read_camera(tmp_path / name)
        assert (camera.rows, camera.columns, camera.viewed_from) == (480, 640, "source")
        assert camera.principal_point_px == pytest.approx((300.25, 250))
        assert camera.pixel_spacing_mm == pytest.approx((1500 / 5990, 1500 / 6000.5))
        np.testing.assert_allclose(rigid.inverse(read_pose(tmp_path / name))[:3], turn, atol=1e-9)
    assert main(["info", str(tmp_path / "matrix.json"), "--write-camera", str(tmp_path / "b.txt")]) == 0
    (first, place), (again, same_place) = read_mayacam(cam1), read_mayacam(tmp_path / "b.txt")
    np.testing.assert_allclose(place, same_place, atol=1e-9)
    assert again.pixel_spacing_mm == pytest.approx(first.pixel_spacing_mm)
    assert again.principal_point_px == pytest.approx(first.principal_point_px)
    assert main(["info", str(cam1), "--write-camera", str(tmp_path / "c.yaml")]) == 2
    assert main(["info", str(tmp_path / "matrix.json")]) == 0
    assert "principal point (column, row): 300.25, 250" in capsys.readouterr().out
    with pytest.raises(InputError, match="mirror the image"):
        write_mayacam(tmp_path / "d.txt", replace(first, viewed_from="detector"), place)
    del alone["rows"]
    (tmp_path / "matrix.json").write_text(json.dumps(alone), encoding="utf-8")
    with pytest.raises(InputError, match="lacks 'rows'"):
        read_camera(tmp_path / "matrix.json")
