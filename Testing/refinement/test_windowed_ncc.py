"""Windowed NCC against numpy's correlation, finite differences and the sums written out."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.refinement.similarity import WindowedNCC, sliding_windows
from DiffPoseRegistrationLib.refinement.window_sums import Cells, correlations

ROWS, COLUMNS = 24, 30
RANDOM = np.random.default_rng(5)
XRAY = RANDOM.normal(3.0, 1.0, (ROWS, COLUMNS)).astype(np.float32)
DRR = (0.6 * XRAY + RANDOM.normal(5.0, 0.8, (2, ROWS, COLUMNS))).astype(np.float32)
JACOBIAN = RANDOM.normal(0.0, 1.0, (2, ROWS, COLUMNS, 6)).astype(np.float32)
WEIGHT = RANDOM.uniform(0.2, 1.0, (ROWS, COLUMNS)).astype(np.float32)
WEIGHT[:, :5] = 0  # a collimator blade
EVEN = np.ones((ROWS, COLUMNS), np.float32)
BOUNDS = np.array([[0, 0, ROWS, COLUMNS], [2, 3, 14, 15], [10, 12, 24, 30]], np.int32)


def _window(bounds):
    top, left, bottom, right = bounds
    return slice(top, bottom), slice(left, right)


def _correlation(x, y, w):
    """Weighted Pearson correlation through numpy's covariance, in float64."""
    return np.cov(np.stack([x.ravel(), y.ravel()]).astype(np.float64), aweights=w.ravel(), ddof=0)


def _ncc(x, y, w):
    c = _correlation(x, y, w)
    return c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])


@pytest.mark.parametrize("weight", [EVEN, WEIGHT])
def test_ncc_is_numpys_correlation(weight):
    ncc, _, _ = correlations(XRAY, weight, DRR, JACOBIAN, Cells.of(BOUNDS))
    for m in range(2):
        for k, bounds in enumerate(BOUNDS):
            part = _window(bounds)
            assert ncc[m, k] == pytest.approx(_ncc(XRAY[part], DRR[m][part], weight[part]), abs=1e-6)
            if weight is EVEN:
                expected = np.corrcoef(XRAY[part].ravel(), DRR[m][part].ravel())[0, 1]
                assert ncc[m, k] == pytest.approx(expected, abs=1e-6)
    # The blade matters: without the weights the numbers are others.
    assert np.abs(correlations(XRAY, EVEN, DRR, JACOBIAN, Cells.of(BOUNDS))[0] - _all_ncc(WEIGHT)).max() > 1e-3


def _all_ncc(weight):
    return np.array(
        [[_ncc(XRAY[_window(b)], DRR[m][_window(b)], weight[_window(b)]) for b in BOUNDS] for m in range(2)]
    )


def test_offset_and_scale_do_not_count():
    other = correlations(1000 * XRAY - 7, WEIGHT, 0.01 * DRR + 3, 0.01 * JACOBIAN, Cells.of(BOUNDS))
    for a, b in zip(correlations(XRAY, WEIGHT, DRR, JACOBIAN, Cells.of(BOUNDS)), other):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4)


def test_further_parameters_leave_those_of_the_pose_as_they_are():
    more = np.concatenate([JACOBIAN, JACOBIAN[..., [4, 0]] * 2], axis=-1)
    ncc, gradient, normal = correlations(XRAY, WEIGHT, DRR, more, Cells.of(BOUNDS))
    for a, b in zip(
        (ncc, gradient[..., :6], normal[..., :6, :6]), correlations(XRAY, WEIGHT, DRR, JACOBIAN, Cells.of(BOUNDS))
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(gradient[..., 6:], 2 * gradient[..., [4, 0]], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(normal[..., 6, 7], 4 * normal[..., 4, 0], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("weight", [EVEN, WEIGHT])
def test_gradient_is_that_of_finite_differences(weight):
    _, gradient, _ = correlations(XRAY, weight, DRR, JACOBIAN, Cells.of(BOUNDS))
    step = 1e-6
    for m in range(2):
        for k, bounds in enumerate(BOUNDS):
            part = _window(bounds)
            x, w = XRAY[part].astype(np.float64), weight[part]
            for a in range(6):
                image, change = DRR[m][part].astype(np.float64), step * JACOBIAN[m][part][..., a].astype(np.float64)
                expected = -(_ncc(x, image + change, w) - _ncc(x, image - change, w)) / (2 * step)
                assert gradient[m, k, a] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("weight", [EVEN, WEIGHT])
def test_gauss_newton_matrix_is_the_product_of_residual_derivatives(weight):
    _, gradient, normal = correlations(XRAY, weight, DRR, JACOBIAN, Cells.of(BOUNDS))
    for m in range(2):
        for k, bounds in enumerate(BOUNDS):
            part = _window(bounds)
            w = weight[part].ravel().astype(np.float64)
            root = np.sqrt(w)

            def unit(values, w=w, root=root):
                centred = values - (w * values).sum() / w.sum()
                return root * centred / np.sqrt((w * centred**2).sum())

            image = DRR[m][part].ravel().astype(np.float64)
            columns = JACOBIAN[m][part].reshape(-1, 6).astype(np.float64)
            step = 1e-6
            dv = np.stack(
                [
                    (unit(image + step * columns[:, a]) - unit(image - step * columns[:, a])) / (2 * step)
                    for a in range(6)
                ],
                axis=1,
            )
            np.testing.assert_allclose(normal[m, k], dv.T @ dv, rtol=1e-4, atol=1e-7)
            u = unit(XRAY[part].ravel().astype(np.float64))
            np.testing.assert_allclose(gradient[m, k], -dv.T @ u, rtol=1e-4, atol=1e-7)
            assert np.linalg.eigvalsh(normal[m, k]).min() > 0


def test_empty_and_flat_windows_do_not_pull():
    drr = DRR[:1].copy()
    drr[0, :12, :12] = 4.0  # nothing of the CT here
    weight = EVEN.copy()
    weight[12:, :12] = 0
    bounds = np.array([[0, 0, 12, 12], [12, 0, 24, 12], [0, 12, 24, 30]], np.int32)
    ncc, gradient, normal = correlations(XRAY, weight, drr, JACOBIAN[:1], Cells.of(bounds))
    assert (ncc[0, :2] == 0).all() and (gradient[0, :2] == 0).all() and (normal[0, :2] == 0).all()
    assert ncc[0, 2] > 0.3 and np.isfinite(normal).all()


def test_windows_cover_the_image_leave_out_masked_ones_and_weigh_structure():
    image = np.zeros((40, 50), np.float32)
    image[:20] = np.random.default_rng(0).normal(size=(20, 50))
    image[20:, :10] = 0.2 * np.random.default_rng(0).normal(size=(20, 10))
    weight = np.ones_like(image)
    weight[:, 30:] = 0
    windows = sliding_windows(image, weight, 12, 6)
    assert windows.weight.sum() == pytest.approx(1) and (windows.weight > 0).all()
    assert (windows.bounds[:, 2] - windows.bounds[:, 0] == 12).all() and windows.bounds[:, :2].min() == 0
    shares = [weight[_window(b)].mean() for b in windows.bounds]
    assert min(shares) >= 0.5 and min(shares) < 1
    assert windows.weight.max() <= np.median(windows.weight) * (1 + 1e-6)
    # All masked: no window at all; larger than the image: the image.
    assert len(sliding_windows(image, 0 * weight, 12, 6).bounds) == 0
    assert sliding_windows(image, weight * 0 + 1, 99, 50).bounds.tolist() == [[0, 0, 40, 50]]


@pytest.mark.parametrize("image_filter", ["none", "gradient", "laplacian"])
@pytest.mark.parametrize("robust_scale", [None, 0.3])
def test_cost_gradient_is_that_of_finite_differences(robust_scale, image_filter):
    """Along the image's own linear change, for every mixture: the cost's slope is its gradient."""
    objective = WindowedNCC(XRAY, WEIGHT, (0, 10, 6), (0.3, 0.5, 0.2), robust_scale, image_filter, 1.0)
    cost, gradient, normal = objective(DRR, JACOBIAN)
    assert cost.shape == (2,) and gradient.shape == (2, 6) and normal.shape == (2, 6, 6)
    step = 3e-3
    for a in range(6):
        ahead, _, _ = objective(DRR + step * JACOBIAN[..., a], JACOBIAN)
        behind, _, _ = objective(DRR - step * JACOBIAN[..., a], JACOBIAN)
        np.testing.assert_allclose(gradient[:, a], (ahead - behind) / (2 * step), atol=3e-3 * np.abs(gradient).max())
    assert objective.weight.sum() == pytest.approx(1)


def test_equal_images_cost_nothing_and_opposite_ones_two():
    objective = WindowedNCC(XRAY, EVEN, (0, 8), (0.5, 0.5))
    jacobian = JACOBIAN[:1]
    cost, gradient, _ = objective(2 * XRAY[None] + 1, jacobian)
    assert cost[0] == pytest.approx(0, abs=1e-6) and np.abs(gradient).max() < 1e-5
    assert objective(-XRAY[None], jacobian)[0][0] == pytest.approx(2, abs=1e-6)


def test_robust_cost_is_bounded_where_something_covers_the_image():
    """A window at correlation -1 costs 2 plainly, at most 2 / (1 + 2 / 0.3) robustly; the whole image is not local."""
    robust = WindowedNCC(XRAY, EVEN, (8,), (1.0,), 0.3)
    assert robust(-XRAY[None], JACOBIAN[:1])[0][0] == pytest.approx(2 / (1 + 2 / 0.3), abs=1e-6)
    whole = WindowedNCC(XRAY, EVEN, (0,), (1.0,), 0.3)
    assert whole(-XRAY[None], JACOBIAN[:1])[0][0] == pytest.approx(2, abs=1e-6)
