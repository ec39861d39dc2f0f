"""Disturbed training images: repeatable, masked, normalised over what is seen."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.augmentation import disturbed, normalised


def _images(count=64, rows=48, columns=64):
    return torch.rand(count, 1, rows, columns, generator=torch.Generator().manual_seed(9)) * 5 + 1


def _disturbed(images, seed=0):
    return disturbed(images, torch.Generator().manual_seed(seed))


def test_one_seed_one_result():
    first, second, other = _disturbed(_images()), _disturbed(_images()), _disturbed(_images(), 1)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])


def test_the_input_is_left_alone():
    images = _images()
    kept = images.clone()
    _disturbed(images)
    assert torch.equal(images, kept)


def test_masks_are_blades_from_the_edges():
    images = _images(256)
    disturbed_images, masks = _disturbed(images)
    assert disturbed_images.shape == masks.shape == images.shape and torch.isfinite(disturbed_images).all()
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    whole = (masks == 1).flatten(1).all(1)
    assert 0.4 < whole.float().mean() < 0.95  # a part of the batch, not all of it
    for mask in masks[~whole][:, 0].numpy():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all() and mask.sum() == len(rows) * len(
            columns
        )
        assert len(rows) > 0.6 * 48 and len(columns) > 0.6 * 64


def test_the_picture_stays_recognisable():
    """Structure survives: smooth images still correlate with what became of them, each with its own and no other."""
    column, row = torch.meshgrid(torch.linspace(0, 6, 64), torch.linspace(0, 6, 48), indexing="xy")
    images = torch.stack([torch.sin(column * (1 + n / 20)) * torch.cos(row + n / 3) for n in range(40)])[:, None]
    after, _ = _disturbed(images)
    correlation = np.corrcoef(np.concatenate([images.flatten(1).numpy(), after.flatten(1).numpy()]))[:40, 40:]
    assert np.median(np.diag(correlation)) > 0.8 and np.median(correlation) < 0.5


@pytest.mark.parametrize("masked", [False, True])
def test_normalised_over_the_mask(masked):
    images = _images(4)
    mask = torch.ones_like(images)
    if masked:
        mask[:, :, :, :20] = 0
        images[:, :, :, :20] = 1e4
    result = normalised(images, mask)
    assert (result[mask == 0] == 0).all()
    for image, seen in zip(result, mask):
        values = image[seen > 0]
        assert float(values.mean()) == pytest.approx(0, abs=1e-5)
        assert float(values.square().mean()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(normalised(7 * images - 3, mask), result, atol=1e-3, rtol=1e-3)
    if not masked:
        torch.testing.assert_close(normalised(images), result)


def test_flat_and_wholly_masked_images_are_zero():
    flat = torch.full((1, 1, 8, 8), 5.0)
    assert normalised(flat).abs().max() < 1e-3
    assert (normalised(_images(1), torch.zeros(1, 1, 48, 64)) == 0).all()
