"""What the network is given: normalised over what is seen, in boxes, without offset, scale and slow trends."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.network_input import local_contrast, network_input, normalised
from scipy.ndimage import uniform_filter


def _images(count=4, rows=48, columns=64):
    return torch.rand(count, 1, rows, columns, generator=torch.Generator().manual_seed(9)) * 5 + 1


def _half_masked(images):
    mask = torch.ones_like(images)
    mask[:, :, :, :20] = 0
    return mask


@pytest.mark.parametrize("masked", [False, True])
def test_normalised_over_the_mask(masked):
    images = _images()
    mask = _half_masked(images) if masked else torch.ones_like(images)
    result = normalised(torch.where(mask > 0, images, 1e4), mask)
    assert (result[mask == 0] == 0).all()
    for image, seen in zip(result, mask):
        values = image[seen > 0]
        assert float(values.mean()) == pytest.approx(0, abs=1e-5)
        assert float(values.square().mean()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(normalised(7 * images - 3, mask), result, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("boxes", [(), (5,), (5, 9)])
def test_flat_and_wholly_masked_images_are_zero(boxes):
    flat, nothing = torch.full((1, 1, 8, 8), 5.0), torch.zeros(1, 1, 48, 64)
    assert network_input(flat, torch.ones_like(flat), boxes).abs().max() < 1e-3
    assert (network_input(_images(1), nothing, boxes) == 0).all()


@pytest.mark.parametrize("side", [3, 5, 9])
def test_local_contrast_is_the_deviation_from_the_mean_of_a_box(side):
    """Against SciPy's box filter, where the whole box lies inside."""
    images = _images(1)
    mask = torch.ones_like(images)
    x = normalised(images, mask)[0, 0].double().numpy()
    centred = x - uniform_filter(x, side)
    expected = centred / np.sqrt(uniform_filter(centred**2, side) + 0.01)
    inside = slice(side, -side)
    found = local_contrast(normalised(images, mask), mask, side)[0, 0].numpy()
    np.testing.assert_allclose(found[inside, inside], expected[inside, inside], atol=1e-4)


@pytest.mark.parametrize("side", [5, 9])
def test_what_is_masked_does_not_matter(side):
    images = _images()
    mask = _half_masked(images)
    result = network_input(images, mask, [side])
    assert (result[mask == 0] == 0).all() and result[mask > 0].std() > 0.5
    other = torch.where(mask > 0, images, torch.rand_like(images) * 1e3)
    torch.testing.assert_close(network_input(other, mask, [side]), result, atol=1e-4, rtol=1e-4)
    # Up to the mask's edge the contrast is that of the part beside it alone.
    alone = network_input(images[..., 20:], mask[..., 20:], [side])
    torch.testing.assert_close(result[..., 20:], alone, atol=1e-4, rtol=1e-4)


def test_a_slow_trend_hardly_changes_the_local_contrast_and_another_image_does():
    images = torch.nn.functional.interpolate(_images(2, 24, 32), size=(48, 64), mode="bicubic")
    mask = torch.ones_like(images)
    trend = 4 * torch.linspace(-1, 1, 64) + 3 * torch.linspace(1, -1, 48)[:, None]

    def likeness(change, boxes):
        pairs = (network_input(x, mask, boxes).flatten() for x in (images, change))
        return float(torch.nn.functional.cosine_similarity(*pairs, dim=0))

    assert likeness(images + trend, (5, 9)) > 0.97
    assert likeness(images + trend, ()) < 0.6
    assert likeness(images.flip(0), (5, 9)) < 0.3


def test_a_channel_for_each_box():
    images = _images()
    mask = _half_masked(images)
    assert torch.equal(network_input(images, mask, ()), normalised(images, mask))
    both = network_input(images, mask, (5, 9))
    assert both.shape == (4, 2, 48, 64)
    assert torch.equal(both[:, 1:], local_contrast(normalised(images, mask), mask, 9))
