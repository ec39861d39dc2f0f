"""Volumes that are not CT become Hounsfield units by a chosen mapping."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.volume_mapping import VolumeMapping, chosen_mapping


@pytest.fixture(scope="module")
def ct():
    return phantom_ct(2, size=(80, 60, 80), spacing=4.0).hounsfield


def test_cone_beam_values_come_back_to_hounsfield(ct):
    """Scale and offset of a reconstruction without calibration, and its noise, are undone."""
    values = 0.37 * ct + 420 + np.random.default_rng(0).normal(0, 8, ct.shape)
    found = chosen_mapping("cone-beam", values, "cbct")(values)
    inside = (ct > -900) & (ct < 1500)
    assert np.abs(np.median(found[ct < -950]) + 1000) < 40
    assert np.abs(found - ct)[inside].mean() < 60
    # Control: read as if they were Hounsfield units they are far off.
    assert np.abs(values - ct)[inside].mean() > 300


def test_vessels_are_all_that_is_left(ct):
    values = np.where(ct > 300, 900.0, 50.0)
    found = chosen_mapping("vessels:400", values, "cta")(values)
    assert (found[values == 50] == -1000).all() and (found[values == 900] > 500).all()
    usual = chosen_mapping("vessels", ct, "cta")(ct)
    assert 0.002 < (usual > -500).mean() < 0.02


def test_mr_shows_the_bodys_outline(ct):
    signal = np.where(ct > -300, 200 + 0.1 * ct, 5.0) + np.random.default_rng(0).normal(0, 3, ct.shape)
    found = chosen_mapping("mr", signal, "mr")(signal)
    assert ((found > -500) == (ct > -300)).mean() > 0.97
    assert found.max() < 100


def test_a_table_of_ones_own(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps([[0, -1000], [10, 0], [20, 1500]]), encoding="utf-8")
    mapping = chosen_mapping(str(path), np.zeros(2), "x")
    np.testing.assert_allclose(mapping(np.array([-5, 0, 5, 15, 99])), [-1000, -1000, -500, 750, 1500])
    assert VolumeMapping.from_json(json.loads(json.dumps(mapping.to_json()))) == mapping
    assert chosen_mapping("ct", np.zeros(2), "x") == VolumeMapping()
    assert VolumeMapping()(np.array([3.0])) == 3


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("pet", "neither one of ct, cone-beam"),
        ("vessels:high", "as a number"),
        ("vessels:1e9", "no value above"),
        ("cone-beam", "no two kinds of voxels"),
        ("mr", "no body"),
    ],
)
def test_what_cannot_be_mapped_is_refused(spec, words):
    with pytest.raises(InputError, match=words):
        chosen_mapping(spec, np.full((4, 4, 4), 7.0), "flat.nrrd")


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[0, -1000]], "at least two pairs"),
        ([[1, -1000], [0, 50]], "rising"),
        ([[0, -1000], [1, "x"]], "at least two pairs"),
        ([[0, 100], [1, 50]], "nothing to air"),
        ([[0, -1000], [1, -900]], "tissue"),
    ],
)
def test_tables_that_make_no_body_are_refused(tmp_path, points, words):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(points), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        chosen_mapping(str(path), np.zeros(2), "x")


def test_read_by_its_mapping_and_again_by_the_mapping_it_kept(ct, tmp_path):
    image = sitk.GetImageFromArray((0.37 * ct + 420).astype(np.float32))
    sitk.WriteImage(image, str(tmp_path / "cbct.nrrd"))
    with pytest.raises(InputError, match="Hounsfield"):
        read_ct(tmp_path / "cbct.nrrd")
    volume = read_ct(tmp_path / "cbct.nrrd", "cone-beam")
    assert volume.mapping.kind == "cone-beam" and volume.hounsfield.min() < -900
    again = read_ct(tmp_path / "cbct.nrrd", volume.mapping)
    assert again.fingerprint == volume.fingerprint
