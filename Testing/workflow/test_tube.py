"""Tube, collimator and tools against hand-computed physics; the blades come back from the DICOM file."""

import numpy as np
import pydicom
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.attenuation import AttenuationRule
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.imaging.xray_reader import read_xray
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray, write_xray_dicom
from DiffPoseRegistrationLib.workflow.tube import SIMULATION_RULE, SOFT_RULE, aperture, steel_path, transmission

CAMERA = Camera(1000.0, 61, 81, (4.0, 3.0))
IDEAL = {"photons": 0, "scatter": 0, "blur_px": 0}


@pytest.fixture(scope="module")
def water():
    """A box of water, 100 mm along the beam of an AP view, in a frame of air."""
    hounsfield = np.full((70, 60, 70), -1000.0, dtype=np.float32)
    hounsfield[10:60, 5:55, 10:60] = 0.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-69, -59, -69)
    return CTVolume(hounsfield, affine, "water")


def _integrals(water_mm, bone_mm, rule: AttenuationRule):
    return np.array([[rule.water_per_mm * water_mm + rule.bone_per_mm * bone_mm]])


def test_spectrum_hardens():
    """Each energy is attenuated by Lambert and Beer's law, and the mean energy rises on the way."""
    table = np.array(
        [
            (0.219, 0.0376, 0.2423),
            (0.274, 0.0268, 0.1212),
            (0.243, 0.0227, 0.0772),
            (0.174, 0.0206, 0.0573),
            (0.090, 0.0193, 0.0476),
        ]
    )
    for water_mm, bone_mm in ((0, 0), (100, 0), (200, 15), (50, 40)):
        expected = (table[:, 0] * np.exp(-table[:, 1] * water_mm - table[:, 2] * bone_mm)).sum() / table[:, 0].sum()
        hard, soft = (_integrals(water_mm, bone_mm, rule) for rule in (SIMULATION_RULE, SOFT_RULE))
        assert transmission(hard, soft, np.zeros((1, 1)))[0, 0] == pytest.approx(expected, rel=1e-6)
    per_mm = []
    for water_mm in (10, 300):
        hard, soft = (_integrals(water_mm, 0, rule) for rule in (SIMULATION_RULE, SOFT_RULE))
        per_mm.append(-np.log(transmission(hard, soft, np.zeros((1, 1)))[0, 0]) / water_mm)
    assert per_mm[1] < 0.9 * per_mm[0]
    # The control: one energy is attenuated alike all along.
    assert -np.log(transmission(_integrals(300, 0, SIMULATION_RULE), None, np.zeros((1, 1)))) / 300 == pytest.approx(
        0.0206
    )


def test_spectrum_in_an_image(water):
    pose = view_pose("AP", water.centre_ras, 700.0)
    image = simulate_xray(water, CAMERA, pose, spectrum="80kV", **IDEAL)
    hard, soft = (_integrals(100, 0, rule) for rule in (SIMULATION_RULE, SOFT_RULE))
    expected = 60000 * transmission(hard, soft, np.zeros((1, 1)))[0, 0]
    np.testing.assert_allclose(image[29:32, 39:42], expected, rtol=0.01)
    assert image[0, 0] == 60000
    assert abs(int(simulate_xray(water, CAMERA, pose, **IDEAL)[30, 40]) / expected - 1) > 0.05


def test_heel_and_blades(tmp_path, water):
    pose = view_pose("AP", water.centre_ras, 700.0)
    image = simulate_xray(water, CAMERA, pose, heel=0.4, collimator_px=(6, 3, 10, 0), **IDEAL)
    np.testing.assert_allclose(image[9:14, 78] / 60000, 1 - 0.4 * (1 - np.arange(9, 14) / 60), rtol=1e-3)
    assert image[:3, 30].max() < 600 and image[30, :7].max() < 600 and image[60, 30] < 600
    write_xray_dicom(tmp_path / "a.dcm", image, CAMERA, collimator_px=(6, 3, 10, 0))
    data = pydicom.dcmread(tmp_path / "a.dcm")
    edges = [data[0x0018, tag].value for tag in (0x1702, 0x1704, 0x1706, 0x1708)]
    assert (data[0x0018, 0x1700].value, edges) == ("RECTANGULAR", [11, 81, 7, 58])
    mask = read_xray(tmp_path / "a.dcm").mask
    assert not mask[:6].any() and not mask[58:].any() and not mask[:, :10].any() and mask[10:55, 14:78].mean() > 0.95
    with pytest.raises(InputError, match="leave nothing"):
        aperture(CAMERA, (40, 21, 0, 0))
    with pytest.raises(InputError, match="heel"):
        simulate_xray(water, CAMERA, pose, heel=1.0)
    with pytest.raises(InputError, match="no spectrum"):
        simulate_xray(water, CAMERA, pose, spectrum="120kV")


def test_way_through_a_rod():
    """A rod across the beam in the isocentre's plane, at half of the detector's distance: seen twice as large."""
    camera = Camera(1000.0, 101, 101, (1.0, 1.0))
    pose = np.eye(4)
    path = steel_path(camera, pose, [(-10.0, 0, 500, 10, 0, 500, 3)])
    assert path[50, 50] == pytest.approx(6.0, abs=1e-3)
    seen = path > 0
    assert seen[50].sum() == pytest.approx(41, abs=2)  # 20 mm
    assert seen[:, 50].sum() == pytest.approx(12, abs=2)  # 6 mm
    # Along the beam it is as long as it is, and leaning by 45 degrees the way through is longer by the root of 2.
    assert steel_path(camera, pose, [(0.0, 0, 480, 0, 0, 520, 3)])[50, 50] == pytest.approx(40, abs=1e-3)
    leaning = steel_path(camera, pose, [(-20.0, 0, 480, 20, 0, 520, 3)])
    assert leaning[50, 50] == pytest.approx(6 * np.sqrt(2), abs=1e-3)
    assert not steel_path(camera, pose, [(200.0, 200, 500, 220, 200, 500, 3)]).any()
    with pytest.raises(InputError, match="two different ends"):
        steel_path(camera, pose, [(0.0, 0, 500, 0, 0, 500, 3)])


def test_tool_darkens_what_it_covers(water):
    pose = view_pose("AP", water.centre_ras, 700.0)
    ends = water.centre_ras + np.array([[-40, 0, 0], [40, 0, 0]])
    tool = (*ends.ravel(), 2.0)
    without = simulate_xray(water, CAMERA, pose, **IDEAL).astype(float)
    image = simulate_xray(water, CAMERA, pose, tools=[tool], **IDEAL)
    assert image[30, 40] == pytest.approx(without[30, 40] * np.exp(-0.948 * 4), rel=0.02)
    assert image[40, 40] == without[40, 40]
