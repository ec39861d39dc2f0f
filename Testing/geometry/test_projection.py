"""Projection matrices against the camera's own projection, and back."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.projection import from_projection_matrix, projection_matrix

PLACE = rigid.se3_exp(np.array([0.4, -1.3, 0.8, 20.0, -30.0, 700.0]))
POINTS = np.array([[10.0, -20, 30], [-40, 30, 5], [25, 60, -20]])


@pytest.mark.parametrize("viewed_from", ["source", "detector"])
def test_there_and_back(viewed_from):
    camera = Camera(1000.0, 420, 500, (0.5, 0.8), (230.0, 190.0), viewed_from)
    p = projection_matrix(camera, PLACE)
    homogeneous = np.c_[POINTS, np.ones(3)] @ p.T
    seen = camera.project(rigid.transform_points(PLACE, POINTS))
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], seen, atol=1e-9)
    assert (homogeneous[:, 2] > 0).all()
    for scale in (1.0, 0.01):
        found, place = from_projection_matrix(scale * p, 420, 500, 1000.0)
        assert found.viewed_from == viewed_from
        assert found.pixel_spacing_mm == pytest.approx(camera.pixel_spacing_mm)
        assert found.principal_point_px == pytest.approx(camera.principal_point_px)
        np.testing.assert_allclose(place, PLACE, atol=1e-9)
    # The control: a point seen elsewhere is another matrix.
    assert np.abs(projection_matrix(camera, rigid.inverse(PLACE)) - p).max() > 1


def test_opencv_matrix():
    """K (R | t) as calibration programs write it."""
    k = np.array([[6000.0, 0, 300], [0, 5990, 250], [0, 0, 1]])
    camera, place = from_projection_matrix(k @ PLACE[:3], 480, 640)
    np.testing.assert_allclose(place, PLACE, atol=1e-9)
    assert (camera.source_to_detector_mm, camera.viewed_from) == (1500.0, "source")
    assert camera.pixel_spacing_mm == pytest.approx((1500 / 5990, 1500 / 6000))


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.eye(3), "3x4"),
        (np.zeros((3, 4)), "projects from a point"),
        ("P", "3x4"),
        (np.array([[6000.0, 600, 300], [0, 5990, 250], [0, 0, 1]]) @ PLACE[:3], "skew"),
    ],
)
def test_what_is_no_camera(matrix, said):
    with pytest.raises(InputError, match=said):
        from_projection_matrix(matrix, 480, 640)
