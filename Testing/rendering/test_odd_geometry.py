"""Geometry that is rare but legal: every one has the right integral or says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.rendering.backends import march
from DiffPoseRegistrationLib.rendering.grid import AttenuationGrid
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from scenes import affine, camera, pose, smooth_grid, smooth_volume

BOTH = pytest.mark.parametrize("step_mm", [None, 0.25])


def _same(image: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return float(np.abs(image - expected).max()) < tolerance * float(expected.max())


@BOTH
def test_source_inside_the_volume(step_mm):
    """The ray begins at the source: what lies behind it does not attenuate. The reference has no clipping to err in."""
    grid, at = smooth_grid((22, 26, 30)), pose(3.0)[None]
    image, jacobian = march("cpu", grid, camera(), at, step_mm, np.zeros(3))
    expected = march("reference", grid, camera(), at, step_mm, np.zeros(3))
    assert _same(image, expected[0], 1e-5)
    assert np.quantile(np.abs(jacobian - expected[1]), 0.99) < 1e-4 * np.abs(expected[1]).max()
    outside = march("cpu", grid, camera(), pose(70.0)[None], step_mm)[0]
    assert image.max() < 0.8 * outside.max()


@BOTH
def test_detector_inside_the_volume(step_mm):
    """The ray ends at the detector."""
    grid, short = smooth_grid((22, 26, 30)), Camera(60.0, 9, 9, (1.0, 1.0))
    image, _ = march("cpu", grid, short, pose(60.0)[None], step_mm)
    assert _same(image, march("reference", grid, short, pose(60.0)[None], step_mm)[0], 1e-5)
    long = Camera(120.0, 9, 9, (2.0, 2.0))  # the same rays, twice as long
    assert image.max() < 0.7 * march("cpu", grid, long, pose(60.0)[None], step_mm)[0].max()


@BOTH
def test_rays_that_miss_are_zero(step_mm):
    grid = smooth_grid()
    away = pose()
    away[:3, :3] = away[:3, :3] @ rigid.so3_exp(np.array([0.0, np.pi / 2, 0.0]))
    image, jacobian = march("cpu", grid, camera(), away[None], step_mm, np.zeros(3))
    assert not image.any() and not jacobian.any()
    wide, jacobian = march("cpu", grid, camera(pixel_spacing_mm=(20.0, 20.0)), pose()[None], step_mm, np.zeros(3))
    missed = wide[0] == 0
    assert 0.5 < missed.mean() < 1 and not jacobian[0][missed].any() and np.isfinite(jacobian).all()


@BOTH
def test_grazing_rays(step_mm):
    """Rays exactly within and beside a face of the grid, parallel to its axes: no infinity, and the values between
    face and first voxel as interpolation says."""
    values = np.full((6, 8, 6), 0.02)
    grid = AttenuationGrid.from_attenuation(values, np.eye(4))
    at = np.eye(4)
    at[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    for x, share in ((-1.0, 0.0), (-0.5, 0.5), (0.0, 1.0), (5.0, 1.0), (5.5, 0.5), (6.0, 0.0), (5.9995, 0.0005)):
        at[:3, 3] = [x, -50.0, 2.5]
        image, jacobian = march("cpu", grid, Camera(100.0, 1, 1, (1.0, 1.0)), at[None], step_mm, np.zeros(3))
        assert image[0, 0, 0] == pytest.approx(share * 8 * 0.02, abs=2e-4)
        assert np.isfinite(jacobian).all()


@BOTH
@pytest.mark.parametrize(
    "how",
    [
        {"spacing": (0.6, 0.9, 3.0)},
        {"turn": (0.5, -0.8, 0.3)},
        {"mirrored": True},
        {"mirrored": True, "spacing": (0.7, 1.3, 2.0), "turn": (0.2, 0.4, 1.1)},
    ],
    ids=["anisotropic", "oblique", "left-handed", "all"],
)
def test_storage_does_not_change_the_body(how, step_mm):
    """The same voxels with their axes exchanged and reversed, the affine telling so, are the same body."""
    size = (18, 22, 26)
    ijk_to_ras = affine(size, **how)
    values = smooth_volume(size, ijk_to_ras)
    expected, derivative = march(
        "cpu", AttenuationGrid.from_attenuation(values, ijk_to_ras), camera(), pose()[None], step_mm, np.zeros(3)
    )
    for order in ((2, 0, 1), (1, 2, 0), (0, 2, 1)):
        # Axis a of the new index is axis order[a] of the old one, counted from its other end.
        new_to_old = np.zeros((4, 4))
        new_to_old[3, 3] = 1
        for a, old in enumerate(order):
            new_to_old[old, a], new_to_old[old, 3] = -1, size[old] - 1
        stored = values.transpose([2 - old for old in order[::-1]])[::-1, ::-1, ::-1]
        grid = AttenuationGrid.from_attenuation(stored, ijk_to_ras @ new_to_old)
        image, jacobian = march("cpu", grid, camera(), pose()[None], step_mm, np.zeros(3))
        assert _same(image, expected, 1e-4)
        assert np.quantile(np.abs(jacobian - derivative), 0.99) < 1e-3 * np.abs(derivative).max()
    wrong = AttenuationGrid.from_attenuation(values[::-1], ijk_to_ras)
    assert not _same(march("cpu", wrong, camera(), pose()[None], step_mm)[0], expected, 0.05)


@BOTH
def test_pixels_and_principal_point(step_mm):
    """A crop of a detector with oblong pixels sees the crop of the image, and a mirrored detector the mirror image."""
    grid = smooth_grid()
    whole = camera(24, 20, pixel_spacing_mm=(1.3, 2.9), principal_point_px=(3.0, 15.5))
    image = march("cpu", grid, whole, pose()[None], step_mm)[0][0]
    part = march("cpu", grid, whole.cropped(5, 4, 10, 12), pose()[None], step_mm)[0][0]
    np.testing.assert_allclose(part, image[5:15, 4:16], atol=2e-6)
    mirrored = camera(24, 20, pixel_spacing_mm=(1.3, 2.9), principal_point_px=(16.0, 15.5), viewed_from="detector")
    np.testing.assert_allclose(march("cpu", grid, mirrored, pose()[None], step_mm)[0][0], image[:, ::-1], atol=2e-6)
    assert not _same(image[::-1], image, 0.05)


@BOTH
def test_one_slice_as_a_grid(step_mm):
    """A single slice of attenuation, as a thin crop leaves it: one voxel thick, the integral is its value."""
    grid = AttenuationGrid.from_attenuation(np.full((1, 40, 40), 0.02), affine((40, 40, 1)))
    down = np.eye(4)
    down[:3, :3] = np.diag([1.0, -1.0, -1.0])
    down[:3, 3] = [0.0, 0.0, 100.0]
    image, _ = march("cpu", grid, Camera(200.0, 5, 5, (1.0, 1.0)), down[None], step_mm)
    assert image[0] == pytest.approx(np.full((5, 5), 0.02), rel=1e-3)


def test_a_ct_of_one_slice_is_refused():
    with pytest.raises(InputError, match="single slice"):
        CTVolume(np.zeros((1, 20, 20), np.float32), np.eye(4), "thin.nrrd")


def test_a_ct_of_air_is_refused():
    with pytest.raises(InputError, match="Hounsfield"):
        Renderer(CTVolume(np.full((8, 8, 8), -1000, np.float32), np.eye(4)))


def test_unknown_names_are_refused():
    ct = CTVolume(np.zeros((8, 8, 8), np.float32), np.eye(4))
    with pytest.raises(InputError, match="joseph, trilinear, siddon"):
        Renderer(ct, method="magic")
    with pytest.raises(InputError, match="auto, cpu, cuda, reference"):
        Renderer(ct, backend="magic")
    with pytest.raises(InputError, match="positive"):
        Renderer(ct, step_voxels=0)


def test_source_on_the_first_plane_and_tiny_images():
    """One pixel, and a batch of one pixel: shapes hold."""
    renderer = Renderer(CTVolume(np.zeros((8, 8, 8), np.float32), np.eye(4)), backend="cpu")
    one = Camera(100.0, 1, 1, (1.0, 1.0))
    images, jacobian = renderer.render_with_jacobian(one, np.stack([pose(), pose()]), np.zeros(3))
    assert images.shape == (2, 1, 1) and jacobian.shape == (2, 1, 1, 6)
    values, none = renderer.render_pixels(one, pose()[None], np.array([[0.0, 0.0]]))
    assert values.shape == (1, 1) and none is None
    np.testing.assert_array_equal(values[0, 0], images[0, 0, 0])
