"""Landmarks from our JSON and from what 3D Slicer saves, in the coordinates that the file states."""

import json

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.landmark_file import read_landmarks

RAS = np.array([[10.0, -20.0, 30.0], [-1.5, 2.5, 3.5]])
FCSV = """# Markups fiducial file version = 5.0
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,{0[0]},{0[1]},{0[2]},0,0,0,1,1,1,0,F-1,,
2,{1[0]},{1[1]},{1[2]},0,0,0,1,1,1,0,"F, two",,
"""


def _markups(points, system, status="defined"):
    controls = [{"id": str(n), "position": list(p), "positionStatus": status} for n, p in enumerate(points)]
    return {"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": controls}]}


def _json(path, data):
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_ours(tmp_path):
    path = _json(tmp_path / "a.json", {"landmarks_ras_mm": RAS.tolist(), "views": {"x": {}, "y": {}}})
    np.testing.assert_array_equal(read_landmarks(f"{path}:y"), RAS)


@pytest.mark.parametrize(("system", "flip"), [("LPS", -1), ("RAS", 1)])
def test_slicers_markups(tmp_path, system, flip):
    path = _json(tmp_path / "F.mrk.json", _markups(RAS * [flip, flip, 1], system))
    np.testing.assert_allclose(read_landmarks(path), RAS)


@pytest.mark.parametrize(("system", "flip"), [("LPS", -1), ("1", -1), ("RAS", 1), ("0", 1)])
def test_slicers_older_lists(tmp_path, system, flip):
    path = tmp_path / "F.fcsv"
    path.write_text(FCSV.format(*(RAS * [flip, flip, 1]).tolist(), system=system), encoding="utf-8")
    np.testing.assert_allclose(read_landmarks(path), RAS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"camera": {}}, "holds no landmarks"),
        ({"landmarks_ras_mm": [[1, 2]]}, "three numbers"),
        ({"landmarks_ras_mm": []}, "three numbers"),
        (_markups(RAS, "RAS", status="undefined"), "no placed points"),
        ({"markups": 5}, "no placed points"),
        ({"markups": [{"coordinateUnits": "cm", "controlPoints": []}]}, "not in millimetres"),
    ],
)
def test_what_holds_none_is_one_sentence(tmp_path, data, words):
    with pytest.raises(InputError, match=words):
        read_landmarks(_json(tmp_path / "a.json", data))


def test_a_broken_list_is_one_sentence(tmp_path):
    path = tmp_path / "F.fcsv"
    path.write_text("1,a,b,c\n", encoding="utf-8")
    with pytest.raises(InputError, match="save it again"):
        read_landmarks(path)
    path.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(InputError, match="three numbers"):
        read_landmarks(path)
    with pytest.raises(InputError, match="does not exist"):
        read_landmarks(tmp_path / "no.fcsv")
