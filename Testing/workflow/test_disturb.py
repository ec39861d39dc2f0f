"""Disturbed X-rays: what is done to the pixels is what the name says, and the reader copes with it."""

import json

import numpy as np
import pytest
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.xray_reader import read_xray
from DiffPoseRegistrationLib.workflow.disturb import DISTURBANCES, known_disturbances, write_disturbed
from PIL import Image

SIDE = 160


@pytest.fixture(scope="module")
def xray(tmp_path_factory):
    """A simulated X-ray of the phantom, as DICOM."""
    folder = tmp_path_factory.mktemp("xray")
    camera = {"source_to_detector_mm": 1000, "rows": SIDE, "columns": SIDE, "pixel_spacing_mm": [2.0, 2.0]}
    (folder / "camera.json").write_text(json.dumps(camera), encoding="utf-8")
    options = ["--camera", str(folder / "camera.json"), "--view", "AP"]
    assert main(["simulate", "--phantom", "0", *options, "--out", str(folder / "case")]) == 0
    return next((folder / "case").glob("*.dcm"))


@pytest.mark.parametrize("kind", [kind for kind in DISTURBANCES if kind != "inverted"])
def test_each_kind_changes_some_of_the_image_and_leaves_the_rest(xray, tmp_path, kind):
    clean = read_xray(xray).attenuation
    made = read_xray(write_disturbed(xray, tmp_path, kind, seed=1)).attenuation
    difference = made - clean  # as a whole too: what is brightest is taken for the open field
    changed = np.abs(difference - np.median(difference)) > 0.3
    assert 0.005 < changed.mean() < 0.6
    again = read_xray(write_disturbed(xray, tmp_path / "again", kind, seed=1)).attenuation
    np.testing.assert_array_equal(made, again)
    elsewhere = read_xray(write_disturbed(xray, tmp_path / "other", kind, seed=2)).attenuation
    assert np.abs(elsewhere - made).max() > 0.3


def test_an_inversion_that_the_header_states_changes_nothing(xray, tmp_path):
    made = write_disturbed(xray, tmp_path, "inverted", seed=0)
    assert made.read_bytes() != xray.read_bytes()
    before, after = read_xray(xray).attenuation, read_xray(made).attenuation
    assert np.abs(before - after).max() < 0.02 * np.ptp(before)


def test_collimation_takes_a_fifth_and_is_masked(xray, tmp_path):
    clean, made = read_xray(xray), read_xray(write_disturbed(xray, tmp_path, "collimated", seed=3))
    lost = clean.mask & ~made.mask
    assert lost.mean() == pytest.approx(0.2, abs=0.05)


def test_pictures_can_be_disturbed_and_what_cannot_is_said(tmp_path):
    grey = np.full((64, 48), 30000, np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    with Image.open(write_disturbed(tmp_path / "grey.png", tmp_path / "out", "label", seed=0)) as made:
        label = np.asarray(made) == 0
    assert label.sum() == 6 * 16  # a tenth by a third of the image
    with pytest.raises(InputError, match="no header"):
        write_disturbed(tmp_path / "grey.png", tmp_path / "out", "inverted", seed=0)
    Image.new("RGB", (48, 64)).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match="one channel"):
        write_disturbed(tmp_path / "colour.png", tmp_path / "out", "rod", seed=0)
    with pytest.raises(InputError, match="no disturbance 'fog'"):
        known_disturbances(["rod", "fog"])
