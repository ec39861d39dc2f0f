"""Turning the stored image moves no ray: each point of the patient falls on the same picture element."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.turned_image import mirrored, turned_clockwise

POSE = rigid.se3_exp(np.array([0.4, -0.3, 0.8, 50.0, -600.0, 20.0]))
POINTS = rigid.transform_points(POSE, np.array([[10.0, -20, 700], [-40, 30, 650], [25, 60, 720]]))


def value_seen(image, camera, pose):
    """The value of the pixel on which each point falls."""
    pixels = camera.project(rigid.transform_points(rigid.inverse(pose), POINTS))
    columns, rows = np.rint(pixels).astype(int).T
    return image[rows, columns]


@pytest.mark.parametrize("viewed_from", ["source", "detector"])
@pytest.mark.parametrize("turns", [1, 2, 3, 4])
def test_each_point_falls_on_the_same_pixel(viewed_from, turns):
    camera = first = Camera(1000.0, 420, 500, (0.5, 0.8), (230.0, 190.0), viewed_from)
    image = first_image = np.arange(420 * 500).reshape(420, 500)
    pose = POSE
    for _turn in range(turns):
        image = np.rot90(image, -1)
        camera, rotation = turned_clockwise(camera)
        pose = pose @ rigid.inverse(rotation)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    assert image.shape == (camera.rows, camera.columns)
    assert np.array_equal(value_seen(image, camera, pose), value_seen(first_image, first, POSE))
    if turns == 4:
        assert np.allclose(pose, POSE) and camera == first
    else:  # the control: without the pose's turn the points fall elsewhere
        assert not np.array_equal(value_seen(image, camera, POSE), value_seen(first_image, first, POSE))


@pytest.mark.parametrize("viewed_from", ["source", "detector"])
def test_mirrored_image_is_seen_from_the_other_side(viewed_from):
    camera = Camera(1000.0, 420, 500, (0.5, 0.8), (230.0, 190.0), viewed_from)
    image = np.arange(420 * 500).reshape(420, 500)
    assert np.array_equal(value_seen(image[:, ::-1], mirrored(camera), POSE), value_seen(image, camera, POSE))
    assert mirrored(mirrored(camera)) == camera and mirrored(camera).viewed_from != viewed_from
