"""Files that are missing, damaged or other than expected end in sentences that name the place."""

import shutil
import sys

import numpy as np
import pytest
from DiffPoseRegistrationLib.datasets.deepfluoro import read_deepfluoro
from DiffPoseRegistrationLib.datasets.ljubljana import read_ljubljana
from DiffPoseRegistrationLib.errors import InputError


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="needs the package h5py, which is not installed here"):
        read_deepfluoro(tmp_path / "data.h5")


def test_files_that_are_none(tmp_path):
    pytest.importorskip("h5py")
    with pytest.raises(InputError, match=r"gone\.h5 does not exist"):
        read_deepfluoro(tmp_path / "gone.h5")
    (tmp_path / "archive.h5").write_bytes(b"PK\x03\x04 not unpacked")
    with pytest.raises(InputError, match=r"archive\.h5 cannot be opened as HDF5.*archive has to be unpacked"):
        read_ljubljana(tmp_path / "archive.h5")


def test_a_truncated_download(deepfluoro, tmp_path):
    content = deepfluoro.path.read_bytes()
    (tmp_path / "half.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"half\.h5 cannot be opened as HDF5"):
        read_deepfluoro(tmp_path / "half.h5")


def test_one_data_set_given_for_the_other(deepfluoro, ljubljana):
    with pytest.raises(InputError, match="holds no subject01"):
        read_ljubljana(deepfluoro.path)
    with pytest.raises(InputError, match="lacks /proj-params"):
        read_deepfluoro(ljubljana.path)


def _edited(source, target, edit):
    import h5py

    shutil.copy(source.path, target)
    with h5py.File(target, "r+") as file:
        edit(file)
    return target


def _replaced(place, value):
    def edit(file):
        del file[place]
        if value is not None:
            file[place] = value

    return edit


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("17-1882/vol-landmarks", None, "lacks /17-1882/vol-landmarks"),
        ("17-1882/vol/spacing", np.ones(2), r"/17-1882/vol/spacing has shape \(2,\) where 3 is expected"),
        ("proj-params/extrinsic", np.full((4, 4), np.nan), "extrinsic holds numbers that are not finite"),
        ("proj-params/extrinsic", np.diag([1.0, 1, 2, 1]), "scales or shears"),
        ("proj-params/intrinsic", np.diag([400.0, 400, 1]), "positive focal lengths"),
        ("proj-params/intrinsic", np.diag([-400.0, -500, 1]), "different distances"),
        ("proj-params/intrinsic", np.eye(3) + np.eye(3, k=1), "skew"),
        ("proj-params/num-rows", "many", "cannot be read as numbers"),
        ("17-1882/projections/000/gt-poses/cam-to-pelvis-vol", None, "lacks .*cam-to-pelvis-vol"),
    ],
)
def test_deepfluoro_with_something_wrong(deepfluoro, tmp_path, place, value, sentence):
    path = _edited(deepfluoro, tmp_path / "wrong.h5", _replaced(place, value))
    with pytest.raises(InputError, match=sentence) as caught:
        read_deepfluoro(path)
    assert "wrong.h5" in str(caught.value)


def test_a_picture_of_another_size_is_told_when_it_is_read(deepfluoro, tmp_path):
    place = "17-1882/projections/000/image/pixels"
    path = _edited(deepfluoro, tmp_path / "wrong.h5", _replaced(place, np.ones((200, 200))))
    dataset = read_deepfluoro(path)
    with pytest.raises(InputError, match=r"is 200 x 200 pixels where /proj-params says 204 x 212"):
        dataset.subjects[0].frames[0].read()
    assert dataset.subjects[0].frames[1].read().attenuation.shape == (104, 112)


def test_ljubljana_with_something_wrong(ljubljana, tmp_path):
    path = _edited(ljubljana, tmp_path / "wrong.h5", _replaced("subject02/proj-lat", None))
    with pytest.raises(InputError, match="lacks /subject02/proj-lat"):
        read_ljubljana(path)
    assert len(read_ljubljana(path, ("ap",)).subjects) == 2
    path = _edited(ljubljana, tmp_path / "empty.h5", _replaced("subject01/volume/pixels", np.zeros((8, 8, 8))))
    with pytest.raises(InputError, match="holds nothing above 1000"):
        read_ljubljana(path).subjects[0].read_ct()


def test_choices_that_are_not_known(deepfluoro, ljubljana):
    with pytest.raises(InputError, match="structures 'pelvis' are not known"):
        read_deepfluoro(deepfluoro.path, structures="pelvis")
    with pytest.raises(InputError, match="views oblique are not known"):
        read_ljubljana(ljubljana.path, ("ap", "oblique"))
    dataset = read_deepfluoro(deepfluoro.path)
    with pytest.raises(InputError, match="no split 'test'; it has held-out, development"):
        dataset.chosen("test")
    with pytest.raises(InputError, match="no subject 17-9999; its file holds 17-1882, 18-2799"):
        dataset.chosen(names=("17-9999",))
