"""The compiled CPU marchers against the readable torch reference, and the reference against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.rendering import reference
from DiffPoseRegistrationLib.rendering.backends import march
from scenes import camera, pose, smooth_grid

ISOCENTRE = np.array([1.0, -2.0, 0.5])
CAMERA = camera(9, 10, pixel_spacing_mm=(4.1, 4.5), principal_point_px=(4.3, 4.6))
# Which axis a ray runs along fastest decides how Joseph's method steps: one view for each, and one between.
VIEWS = {"y": (0.31, -0.17, 0.23), "x": (0.1, 0.2, 1.7), "z": (1.4, 0.1, 0.2), "diagonal": (0.5, 0.2, 0.7)}
GEOMETRIES = {
    "plain": {},
    "anisotropic": {"spacing": (0.8, 1.1, 2.6)},
    "oblique": {"turn": (0.3, 0.5, -0.4)},
    "left-handed": {"mirrored": True, "spacing": (1.2, 0.9, 1.0)},
}


def _worst(got: np.ndarray, expected: np.ndarray, but: int = 0) -> float:
    """The largest difference relative to the largest value, leaving out the ``but`` worst entries."""
    return float(np.sort(np.abs(got - expected), axis=None)[-1 - but] / np.abs(expected).max())


@pytest.mark.parametrize("step_mm", [None, 0.61])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("view", VIEWS)
def test_cpu_equals_the_reference(view, geometry, step_mm):
    grid, poses = smooth_grid(**GEOMETRIES[geometry]), pose(turn=VIEWS[view])[None]
    expected = march("reference", grid, CAMERA, poses, step_mm, ISOCENTRE)
    image, jacobian = march("cpu", grid, CAMERA, poses, step_mm, ISOCENTRE)
    assert _worst(image, expected[0]) < 1e-5
    # A sample that rounding puts on the other side of a voxel's face sees another gradient: two rays may have one.
    assert _worst(jacobian, expected[1], but=12) < 1e-4
    assert _worst(jacobian, expected[1]) < 1e-2
    moved = rigid.update_pose(poses, np.array([np.deg2rad(5), 0, 0, 0, 0, 5.0]), ISOCENTRE)
    image, jacobian = march("cpu", grid, CAMERA, moved, step_mm, ISOCENTRE)
    assert _worst(image, expected[0]) > 0.05 and _worst(jacobian, expected[1], but=12) > 0.05


@pytest.mark.parametrize("step_mm", [None, 0.61])
@pytest.mark.parametrize("view", VIEWS)
def test_jacobian_equals_finite_differences(view, step_mm):
    """Central differences in float64 through the reference, which knows nothing of derivatives written by hand."""
    grid, at = smooth_grid(), pose(turn=VIEWS[view])
    _, jacobian = march("cpu", grid, CAMERA, at[None], step_mm, ISOCENTRE)
    step = np.array([1e-6, 1e-6, 1e-6, 1e-4, 1e-4, 1e-4])
    expected = np.empty((9, 10, 6))
    for n in range(6):
        sides = []
        for sign in (1.0, -1.0):
            twist = torch.zeros(6, dtype=torch.float64)
            twist[n] = sign * step[n]
            sides.append(reference.render(grid, CAMERA, at, ISOCENTRE, twist, step_mm).numpy())
        expected[..., n] = (sides[0] - sides[1]) / (2 * step[n])
    # The field has an edge where a sample crosses a voxel's face; a ray that has a sample there has two derivatives.
    difference = (jacobian[0] - expected).reshape(-1, 6)
    difference = difference[np.argsort(np.linalg.norm(difference, axis=1))[:-2]]
    relative = np.linalg.norm(difference, axis=0) / np.linalg.norm(expected, axis=(0, 1))
    assert relative.max() < 1e-4, relative
    swapped = np.linalg.norm(jacobian[0][..., [1, 0, 2, 4, 3, 5]] - expected, axis=(0, 1))
    assert (swapped / np.linalg.norm(expected, axis=(0, 1))).max() > 0.1


@pytest.mark.parametrize("step_mm", [None, 0.61])
def test_reference_derivative_in_the_volume(step_mm):
    """The line integral is linear in the volume: its derivative times the volume is the line integral itself, and
    what one voxel adds is what the derivative says."""
    grid = smooth_grid((9, 10, 11))
    volume = torch.as_tensor(grid.values.astype(np.float64) * grid.scale).requires_grad_()
    source, directions = reference.rays_of(camera(5, 6), pose(), torch.zeros(6, dtype=torch.float64), ISOCENTRE)
    total = reference.line_integrals(volume, grid.ras_to_grid, source, directions, step_mm).sum()
    (gradient,) = torch.autograd.grad(total, volume)
    total = total.detach()
    assert float((gradient * volume.detach()).sum()) == pytest.approx(float(total), rel=1e-9)
    more = volume.detach().clone()
    more[5, 5, 4] += 0.5
    added = reference.line_integrals(more, grid.ras_to_grid, source, directions, step_mm).sum() - total
    assert float(added) == pytest.approx(0.5 * float(gradient[5, 5, 4]), rel=1e-9)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_reference_precisions(precision):
    grid, twist = smooth_grid(), torch.zeros(6, dtype=precision)
    image = reference.render(grid, CAMERA, pose(), ISOCENTRE, twist)
    assert image.dtype == precision
    expected = reference.render(grid, CAMERA, pose(), ISOCENTRE)
    assert float((image - expected).abs().max() / expected.max()) < 1e-5


@pytest.mark.parametrize("step_mm", [None, 0.61])
def test_pixels_alone_are_the_image_there(step_mm):
    """Chosen pixels, whole and between pixel centres, have the value and derivatives of an image of their own."""
    grid, poses = smooth_grid(), np.stack([pose(), pose(60.0)])
    image, jacobian = march("cpu", grid, CAMERA, poses, step_mm, ISOCENTRE)
    chosen = np.array([[3, 2], [9, 8], [5, 4], [5, 5]])
    values, derivatives = march("cpu", grid, CAMERA, poses, step_mm, ISOCENTRE, chosen)
    np.testing.assert_array_equal(values, image[:, chosen[:, 1], chosen[:, 0]])
    np.testing.assert_array_equal(derivatives, jacobian[:, chosen[:, 1], chosen[:, 0]])
    between = np.array([[4.5, 4.25]])
    expected = march("reference", grid, CAMERA, poses, step_mm, ISOCENTRE, between)
    for got, wanted in zip(march("cpu", grid, CAMERA, poses, step_mm, ISOCENTRE, between), expected):
        assert _worst(got, wanted) < 1e-4
