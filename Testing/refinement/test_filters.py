"""Image filters against scipy.ndimage."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.refinement.filters import filtered
from scipy import ndimage

STACK = np.random.default_rng(0).normal(size=(2, 31, 40, 3)).astype(np.float32)


def _scipy(image, sigma, orders):
    radius = max(1, int(np.ceil(3 * sigma)))
    return ndimage.gaussian_filter(image.astype(np.float64), sigma, orders, mode="nearest", radius=radius)


@pytest.mark.parametrize("sigma", [0.8, 1.0, 1.5, 2.5])
def test_gradient(sigma):
    along_columns, along_rows = filtered(STACK, "gradient", sigma)
    for n in range(2):
        for k in range(3):
            across, down = (_scipy(STACK[n, :, :, k], sigma, orders) for orders in ((0, 1), (1, 0)))
            np.testing.assert_allclose(along_columns[n, :, :, k], across, atol=2e-5)
            np.testing.assert_allclose(along_rows[n, :, :, k], down, atol=2e-5)
            assert np.abs(along_columns[n, :, :, k] - down).max() > 0.05


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
def test_laplacian(sigma):
    (found,) = filtered(STACK, "laplacian", sigma)
    for n in range(2):
        expected = sum(_scipy(STACK[n, :, :, 1], sigma, orders) for orders in ((0, 2), (2, 0)))
        # The cut-off kernel is made exactly blind to a constant, which scipy's is only nearly.
        np.testing.assert_allclose(found[n, :, :, 1], expected, atol=0.02 * np.abs(expected).max())


def test_no_filter_changes_nothing():
    assert filtered(STACK, "none", 1.0)[0] is STACK


def test_constants_vanish_and_ramps_have_their_slope():
    constant = np.full((1, 30, 30, 1), 1000.0, np.float32)
    for kind in ("gradient", "laplacian"):
        for channel in filtered(constant, kind, 1.5):
            np.testing.assert_allclose(channel, 0, atol=1e-3)
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[None, None, :, None], (1, 30, 30, 1)).copy()
    across, down = filtered(ramp, "gradient", 1.0)
    np.testing.assert_allclose(across[0, 8:-8, 8:-8], 1.0, atol=0.03)
    np.testing.assert_allclose(down[0, 8:-8, 8:-8], 0.0, atol=1e-5)
    (second,) = filtered(ramp**2, "laplacian", 1.5)
    np.testing.assert_allclose(second[0, 12:-12, 12:-12], 2.0, atol=0.15)


def test_unknown_filter_is_refused():
    with pytest.raises(ValueError, match="sobel"):
        filtered(STACK, "sobel", 1.0)
