"""Cameras zoomed one by one in a batch: each as the camera that is built so."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.rendering.autograd import render_at
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from scenes import affine, camera, pose, smooth_volume

ZOOMS = np.array([0.8, 1.0, 1.3])


@pytest.fixture(scope="module")
def ct():
    ijk_to_ras = affine((20, 24, 22), turn=(0.2, -0.1, 0.3))
    return CTVolume(smooth_volume((20, 24, 22), ijk_to_ras) * 5e4 - 1000, ijk_to_ras, "blob")


@pytest.mark.parametrize(
    ("method", "backend"), [("joseph", "cpu"), ("trilinear", "cpu"), ("siddon", "cpu"), ("joseph", "reference")]
)
def test_a_zoomed_batch_is_each_zoomed_camera(ct, method, backend):
    renderer = Renderer(ct, levels=1, method=method, backend=backend)
    which = camera(17, 19, principal_point_px=(8.0, 9.0))
    poses = np.stack([pose(), pose(turn=(-0.2, 0.3, 1.2)), pose()])
    images = renderer.render_batch(which, poses, zooms=ZOOMS)
    for image, at, zoom in zip(images, poses, ZOOMS):
        expected = renderer.render(which.zoomed(zoom), at)
        assert expected.max() > 0.1
        np.testing.assert_allclose(image, expected, atol=1e-5)
    plain = renderer.render_batch(which, poses)
    np.testing.assert_array_equal(plain[1], images[1])
    assert np.abs(plain - images)[[0, 2]].max() > 0.05  # control


def test_a_zoomed_camera_projects_zoom_times_as_large():
    which = camera(17, 19, principal_point_px=(8.0, 9.0))
    point = np.array([4.0, -7.0, 500.0])
    from_centre, zoomed = which.project(point) - (8, 9), which.zoomed(1.5).project(point) - (8, 9)
    np.testing.assert_allclose(zoomed, 1.5 * from_centre)


def test_derivatives_of_a_zoomed_batch(ct):
    renderer = Renderer(ct, levels=1, backend="cpu")
    which = camera(17, 19)
    poses = np.stack([pose()] * 3)
    jacobian = renderer.render_with_jacobian(which, poses, ct.centre_ras, 0, ZOOMS)[1]
    for one, at, zoom in zip(jacobian, poses, ZOOMS):
        expected = renderer.render_with_jacobian(which.zoomed(zoom), at[None], ct.centre_ras)[1][0]
        np.testing.assert_allclose(one, expected, atol=1e-4 * np.abs(expected).max())
    # In parts, as when somebody may want to cancel, and inside torch.
    with renderer.checking(lambda: None):
        parts = renderer.render_with_jacobian(which, poses, ct.centre_ras, 0, ZOOMS)[1]
    np.testing.assert_allclose(parts, jacobian, atol=1e-6)
    twists = torch.zeros(3, 6, dtype=torch.float64, requires_grad=True)
    render_at(twists, renderer, which, poses, 0, ZOOMS).sum().backward()
    np.testing.assert_allclose(twists.grad, jacobian.sum((1, 2)), rtol=1e-4, atol=1e-3)
