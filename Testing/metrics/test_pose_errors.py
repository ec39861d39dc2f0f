"""Registration errors against numbers worked out by hand."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.metrics.errors import (
    magnification,
    pose_error,
    projection_errors,
    reprojection_distances,
    rotation_error_deg,
    target_registration_errors,
)

ISOCENTRE = np.array([10.0, -20.0, 300.0])
CAMERA = Camera(1000.0, 512, 512, (0.5, 0.25))
POSE = view_pose("AP", ISOCENTRE, 700.0)
X, Y, Z = POSE[:3, 0], POSE[:3, 1], POSE[:3, 2]  # the camera's axes in the world
CROSS = ISOCENTRE + np.array([50 * X, -50 * X, 50 * Y, -50 * Y])  # in the plane of the isocentre


def _moved(rotation=(0, 0, 0), translation=(0, 0, 0)):
    """POSE with the camera turned about the isocentre and moved, world axes."""
    return rigid.update_pose(POSE, np.array([*rotation, *translation], dtype=float), ISOCENTRE)


def test_no_error():
    error = pose_error(POSE, POSE, CROSS, CAMERA)
    assert (error.tre_mm, error.projection_error_mm, error.in_plane_mm, error.depth_mm) == (0, 0, 0, 0)
    assert error.rotation_deg == pytest.approx(0, abs=1e-6)


def test_one_degree_of_orbit_about_the_isocentre():
    angle = np.deg2rad(1.0)
    error = pose_error(_moved(angle * Y), POSE, CROSS, CAMERA)
    # About the camera's y: the two points at 50 mm across move along a chord, the two on the axis stay.
    chord = 2 * 50 * np.sin(angle / 2)
    np.testing.assert_allclose(
        target_registration_errors(_moved(angle * Y), POSE, CROSS), [chord, chord, 0, 0], atol=1e-9
    )
    assert error.tre_mm == pytest.approx(chord / 2)
    assert error.rotation_deg == pytest.approx(1.0)
    assert error.in_plane_mm == pytest.approx(0, abs=1e-9) and error.depth_mm == pytest.approx(0, abs=1e-9)
    # On the detector: x = f 50 cos / (700 -+ 50 sin) instead of f 50 / 700.
    expected = [
        abs(1000 * 50 * np.cos(angle) / (700 + side * 50 * np.sin(angle)) - 1000 * 50 / 700) for side in (1, -1)
    ]
    found = projection_errors(_moved(angle * Y), POSE, CROSS, CAMERA)
    np.testing.assert_allclose(sorted(found[:2]), sorted(expected), atol=1e-9)
    # Control: the same turn about the source, which in the world moves the camera not at all.
    about_source = POSE.copy()
    about_source[:3, :3] = rigid.so3_exp(angle * Y) @ POSE[:3, :3]
    assert pose_error(about_source, POSE, CROSS, CAMERA).tre_mm > 10


def test_pure_depth():
    error = pose_error(_moved(translation=-3.0 * Z), POSE, CROSS, CAMERA)  # the camera withdraws by 3 mm
    assert error.tre_mm == pytest.approx(3.0) and error.depth_mm == pytest.approx(3.0)
    assert error.in_plane_mm == pytest.approx(0, abs=1e-9) and error.rotation_deg == pytest.approx(0, abs=1e-6)
    assert error.projection_error_mm == pytest.approx(1000 * 50 / 700 - 1000 * 50 / 703)  # hardly seen on the detector
    # Nor across the beam: the point (50, 700) lies 50 (703 - 700) / |(50, 703)| from the ray through (50, 703).
    assert error.reprojection_distance_mm == pytest.approx(150 / np.hypot(50, 703))


def test_pure_in_plane():
    error = pose_error(_moved(translation=3 * X + 4 * Y), POSE, CROSS, CAMERA)
    assert error.tre_mm == pytest.approx(5.0) and error.in_plane_mm == pytest.approx(5.0)
    assert error.depth_mm == pytest.approx(0, abs=1e-9)
    assert error.projection_error_mm == pytest.approx(5 * 1000 / 700)  # magnified, and in mm although pixels are oblong
    assert error.projection_error_isocentre_mm == pytest.approx(5.0)  # life size again
    nearer = pose_error(_moved(translation=3 * X + 4 * Y), POSE, CROSS, CAMERA, isocentre=ISOCENTRE - 200 * Z)
    assert nearer.projection_error_isocentre_mm == pytest.approx(5 * (1000 / 700) / (1000 / 500))


def test_magnification_is_that_of_the_true_pose():
    assert magnification(POSE, ISOCENTRE, CAMERA) == pytest.approx(1000 / 700)
    assert magnification(POSE, ISOCENTRE - 200 * Z, CAMERA) == pytest.approx(2.0)


def test_reprojection_distance_is_across_the_ray():
    # A point on the axis, seen 5 mm off: its distance from the ray through (3, 4, 700) is 5 700 / |(3, 4, 700)|.
    found = reprojection_distances(_moved(translation=3 * X + 4 * Y), POSE, ISOCENTRE[None])
    np.testing.assert_allclose(found, 5 * 700 / np.sqrt(700**2 + 25), rtol=1e-12)
    # Along the beam nothing is seen of a point on the axis.
    np.testing.assert_allclose(reprojection_distances(_moved(translation=-9 * Z), POSE, ISOCENTRE[None]), 0, atol=1e-9)


def test_roll_moves_points_by_their_distance_from_the_beam():
    angle = np.deg2rad(2.0)
    points = ISOCENTRE + np.array([30 * X, 40 * Z])
    errors = target_registration_errors(_moved(angle * Z), POSE, points)
    np.testing.assert_allclose(errors, [2 * 30 * np.sin(angle / 2), 0], atol=1e-9)


@pytest.mark.parametrize("degrees", [1e-4, 1.0, 90.0, 179.99])
def test_rotation_error(degrees):
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    assert rotation_error_deg(_moved(np.deg2rad(degrees) * axis, (9, 9, 9)), POSE) == pytest.approx(degrees, rel=1e-6)


def test_centroid_hides_what_the_tre_shows():
    """In-plane and depth are those of the landmarks' centroid: a turn about it leaves them at zero."""
    error = pose_error(_moved(np.deg2rad(5) * X), POSE, CROSS, CAMERA)
    assert error.in_plane_mm < 1e-9 and error.depth_mm < 1e-9 and error.tre_mm > 2


def test_errors_are_symmetric_and_do_not_depend_on_the_world():
    other = _moved((0.02, -0.01, 0.03), (1, 2, 3))
    world = rigid.se3_exp(np.array([0.3, -1.0, 0.7, 100, 200, -300]))
    moved = rigid.transform_points(world, CROSS)
    there = target_registration_errors(world @ other, world @ POSE, moved)
    np.testing.assert_allclose(there, target_registration_errors(other, POSE, CROSS), atol=1e-9)
    np.testing.assert_allclose(there, target_registration_errors(POSE, other, CROSS), atol=1e-9)
