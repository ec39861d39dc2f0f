"""Clinical angles against DICOM's definitions, PS3.3 C.8.7.5."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.angles import pose_at_angles, pose_in_words, positioner_angles
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose

ISOCENTRE = np.array([10.0, -20.0, 30.0])


def _looking(beam):
    beam = np.array(beam, dtype=float) / np.linalg.norm(beam)
    rows = np.array([0.0, 0.0, -1.0]) + beam[2] * beam
    rows /= np.linalg.norm(rows)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = np.cross(rows, beam), rows, beam
    pose[:3, 3] = ISOCENTRE - 700 * beam
    return pose


@pytest.mark.parametrize(
    ("beam", "expected"),
    [
        ((0, 1, 0), (0, 0)),  # tube under the table, detector in front
        ((-1, 1, 0), (45, 0)),  # detector to the patient's left: LAO 45
        ((1, 1, 0), (-45, 0)),  # RAO 45
        ((0, 1, 1), (0, 45)),  # detector towards the head: CRA 45
        ((0, 1, -1), (0, -45)),
        ((-1, 0, 0), (90, 0)),
    ],
)
def test_positioner_angles(beam, expected):
    primary, secondary, roll = positioner_angles(_looking(beam))
    assert (primary, secondary) == pytest.approx(expected, abs=1e-9)
    assert roll == pytest.approx(0, abs=1e-9)


def test_source_in_front_is_a_primary_angle_of_180():
    assert abs(positioner_angles(view_pose("AP", ISOCENTRE, 700.0))[0]) == pytest.approx(180)


def test_roll_turns_about_the_beam():
    pose_range = PoseRange(view_pose("PA", ISOCENTRE, 700.0), ISOCENTRE, (0, 0, 30), (0, 0, 0))
    assert positioner_angles(pose_range.pose(np.array([0, 0, 20.0, 0, 0, 0])))[2] == pytest.approx(20)


def test_words():
    assert pose_in_words(view_pose("LL", ISOCENTRE, 700.0), ISOCENTRE).startswith("beam LL, source turned 0.0 deg")
    # Source in front, to the patient's left (-x) and towards the head.
    words = pose_in_words(_looking((0.2, -1, -0.1)), ISOCENTRE)
    assert "beam AP, source turned 11.3 deg to the patient's left and 5.6 deg towards the head" in words
    assert "700 mm from the source and 0 mm beside the beam" in words
    assert "to the front" in pose_in_words(_looking((1, -0.2, 0)), ISOCENTRE)


@pytest.mark.parametrize("angles", [(0, 0), (30, 0), (-45, 20), (90, -10), (170, 35), (-120, -60)])
def test_a_pose_at_given_angles_has_them(angles):
    isocentre = np.array([10.0, -20.0, 30.0])
    pose = pose_at_angles(*angles, isocentre, 700.0)
    assert np.allclose(positioner_angles(pose), (*angles, 0), atol=1e-9)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    assert np.allclose(pose[:3, 3] + 700 * pose[:3, 2], isocentre)


def test_at_0_0_the_source_is_behind_the_patient():
    # DICOM PS3.3 C.8.7.5: 0, 0 is the detector in front of the patient.
    assert np.allclose(pose_at_angles(0, 0, np.zeros(3), 700.0), view_pose("PA", np.zeros(3), 700.0))
    # LAO 30: the detector has moved to the patient's left, so the source to the right (+x in RAS).
    assert pose_at_angles(30, 0, np.zeros(3), 700.0)[0, 3] == pytest.approx(350)


def test_a_beam_along_the_body_has_no_upright():
    with pytest.raises(InputError):
        pose_at_angles(0, 90, np.zeros(3), 700.0)
