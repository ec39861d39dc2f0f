"""Dense and sparse NCC with their derivative by pixel, against torch's unfold and autograd and finite differences."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.refinement.dense_ncc import DenseNCC, GradientNCC, Mixture, multiscale_ncc
from DiffPoseRegistrationLib.refinement.sparse_ncc import SparseNCC, patch_importance
from scipy import ndimage


@pytest.fixture
def images():
    """Two images that are alike, and weights with a hole and soft edges."""
    random = np.random.default_rng(4)
    x = ndimage.gaussian_filter(random.normal(size=(31, 26)), 2) * 5 + 3
    drr = (0.7 * x + ndimage.gaussian_filter(random.normal(size=x.shape), 2) + 1).astype(np.float32)
    weight = np.ones(x.shape)
    weight[8:16, 5:14] = 0
    weight[:, -4:] = 0.5
    return x.astype(np.float32), drr, weight


def _reference(x, i, patch):
    """The mean over all patches of the product of z-scores, from the definition, with torch's derivative."""
    floor = 1e-5 * np.ptp(x).astype(np.float64) ** 2
    x, i = torch.tensor(x, dtype=torch.float64), torch.tensor(i, dtype=torch.float64, requires_grad=True)

    def z(image):
        patches = image[None] if patch is None else image.unfold(0, patch, 1).unfold(1, patch, 1)
        patches = patches.reshape(-1, patches.shape[-2] * patches.shape[-1])
        return (patches - patches.mean(1, True)) / torch.sqrt(patches.var(1, keepdim=True, correction=0) + floor)

    value = (z(x) * z(i)).mean(1).mean()
    value.backward()
    return float(value.detach()), i.grad.numpy()


@pytest.mark.parametrize("patch", [None, 5, 9])
def test_dense_ncc_is_the_mean_over_patches_of_the_product_of_z_scores(images, patch):
    x, drr, _ = images
    value, derivative = DenseNCC(x, np.ones(x.shape), patch)(drr)
    expected, expected_derivative = _reference(x, drr, patch)
    assert value == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(derivative, expected_derivative, atol=1e-9 * np.abs(expected_derivative).max())
    # The control: the same images shifted by two pixels against each other.
    assert abs(DenseNCC(np.roll(x, 2, axis=1), np.ones(x.shape), patch)(drr)[0] - expected) > 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda x, w: DenseNCC(x, w),
        lambda x, w: DenseNCC(x, w, 7),
        lambda x, w: GradientNCC(x, w, 7),
        lambda x, w: Mixture([(0.3, multiscale_ncc(x, w, 5)), (0.7, GradientNCC(x, w))]),
    ],
    ids=["global", "local", "gradient", "mixture"],
)
def test_derivative_under_a_mask_is_that_of_finite_differences(images, make):
    x, drr, weight = images
    measure = make(x, weight)
    drr = drr.astype(np.float64)
    _, derivative = measure(drr)
    random = np.random.default_rng(0)
    for _ in range(4):
        direction = random.normal(size=x.shape)
        h = 1e-5
        change = (measure(drr + h * direction)[0] - measure(drr - h * direction)[0]) / (2 * h)
        assert (derivative * direction).sum() == pytest.approx(change, rel=1e-5)


def test_masked_pixels_neither_count_nor_pull(images):
    x, drr, weight = images
    hole = weight == 0
    x2, drr2 = x.copy(), drr.copy()
    x2[hole], drr2[hole] = 7.0, -3.0
    value, derivative = DenseNCC(x, weight, 5)(drr)
    value2, derivative2 = DenseNCC(x2, weight, 5)(drr2)
    assert value2 == pytest.approx(value, rel=1e-9)
    assert not derivative[hole].any() and not derivative2[hole].any()


def test_equal_images_have_similarity_one_and_no_derivative(images):
    x, _, weight = images
    for measure in (multiscale_ncc(x, weight, 9), GradientNCC(x, weight, 11)):
        value, derivative = measure(2 * x + 5)
        assert value == pytest.approx(1, abs=2e-3)  # short of one by the variance floor
        assert np.abs(derivative).max() < 1e-3


def test_an_empty_image_gives_finite_numbers(images):
    x, _, weight = images
    for measure in (multiscale_ncc(x, weight, 9), GradientNCC(x, weight, 11), multiscale_ncc(0 * x, weight, 9)):
        value, derivative = measure(np.zeros(x.shape))
        assert value == pytest.approx(0, abs=1e-6) and np.isfinite(derivative).all()


def test_sparse_ncc_of_all_patches_drawn_is_the_mean_over_those(images):
    x, drr, weight = images
    sparse = SparseNCC(x, weight, 7, 40, seed=1)
    columns, rows = sparse.pixels.astype(int).T
    assert len(set(zip(rows, columns))) == len(rows) <= 40 * 49
    values = drr[rows, columns].astype(np.float64)
    value, derivative = sparse(values)
    assert 0.3 < value < 1
    assert value == pytest.approx(multiscale_ncc(x, weight, 7)(drr)[0], abs=0.15)
    h, direction = 1e-5, np.random.default_rng(0).normal(size=len(values))
    change = (sparse(values + h * direction)[0] - sparse(values - h * direction)[0]) / (2 * h)
    assert derivative @ direction == pytest.approx(change, rel=1e-5)


def test_patches_are_drawn_anew_by_importance_and_by_seed(images):
    x, _, weight = images
    importance = patch_importance(x, weight, 7)
    assert importance.shape == (25, 20) and importance.sum() == pytest.approx(1)
    assert importance[8:10, 5:8].max() == 0  # corners of patches inside the hole
    top, left = np.unravel_index(np.argmax(importance), importance.shape)
    assert importance[top, left] * 500 > 1.5
    part, w = x[top : top + 7, left : left + 7], weight[top : top + 7, left : left + 7]
    deviation = np.sqrt(np.average((part - np.average(part, weights=w)) ** 2, weights=w))
    top2, left2 = 20, 3
    other = x[top2 : top2 + 7, left2 : left2 + 7].std()
    assert importance[top, left] / importance[top2, left2] == pytest.approx(deviation / other, rel=1e-4)
    a, b = SparseNCC(x, weight, 7, 5, seed=3), SparseNCC(x, weight, 7, 5, seed=3)
    first = a.pixels
    np.testing.assert_array_equal(first, b.pixels)
    a.draw()
    assert not np.array_equal(first, a.pixels)
