"""Disturbed training images: repeatable and masked."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.augmentation import REAL_XRAYS, disturbed
from DiffPoseRegistrationLib.encoder.network_input import normalised
from DiffPoseRegistrationLib.errors import InputError

MASKING = {"blades", "round_field"}


def _images(count=64, rows=48, columns=64):
    return torch.rand(count, 1, rows, columns, generator=torch.Generator().manual_seed(9)) * 5 + 1


def _smooth(count=40):
    column, row = torch.meshgrid(torch.linspace(0, 6, 64), torch.linspace(0, 6, 48), indexing="xy")
    return torch.stack([torch.sin(column * (1 + n / 20)) * torch.cos(row + n / 3) for n in range(count)])[:, None]


def _disturbed(images, seed=0, shares=None):
    return disturbed(images, torch.Generator().manual_seed(seed), shares)


def test_one_seed_one_result():
    first, second, other = _disturbed(_images()), _disturbed(_images()), _disturbed(_images(), 1)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])


def test_the_input_is_left_alone():
    images = _images()
    kept = images.clone()
    _disturbed(images)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("name", list(REAL_XRAYS))
def test_each_disturbance_falls_on_its_share_and_leaves_the_picture(name):
    images = _smooth()
    plain, _ = _disturbed(images, shares={})
    never, _ = _disturbed(images, shares={name: 0.0})
    assert torch.equal(plain, never)
    after, mask = _disturbed(images, shares={name: 0.5})
    changed = (after != plain).flatten(1).any(1) | (mask == 0).flatten(1).any(1)
    assert 8 <= changed.sum() <= 32 and torch.isfinite(after).all()
    always, mask = _disturbed(images, shares={name: 1.0})
    assert (mask == 1).all() == (name not in MASKING) and (mask.mean((1, 2, 3)) > 0.45).all()
    assert (always != plain).any() == (name not in MASKING)
    both = [normalised(x, mask).flatten(1) for x in (plain, always)]
    alike = torch.nn.functional.cosine_similarity(*both)
    assert alike.median() > 0.75


def test_nothing_is_a_picture_between_zero_and_one():
    plain, mask = _disturbed(_images(), shares={})
    assert plain.min() == 0 and plain.max() == 1 and (mask == 1).all()
    torch.testing.assert_close(normalised(plain, mask), normalised(_images(), mask), atol=1e-4, rtol=1e-4)


def test_blades_come_from_the_edges():
    _, masks = _disturbed(_images(256), shares={"blades": 0.5})
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    whole = (masks == 1).flatten(1).all(1)
    assert 0.3 < whole.float().mean() < 0.7
    for mask in masks[~whole][:, 0].numpy():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert inside.all() and mask.sum() == inside.size and len(rows) > 0.6 * 48 and len(columns) > 0.6 * 64


def test_the_picture_stays_recognisable_under_all_of_them():
    """Structure survives: smooth images still correlate with what became of them, each with its own and no other."""
    images = _smooth()
    after, _ = _disturbed(images)
    correlation = np.corrcoef(np.concatenate([images.flatten(1).numpy(), after.flatten(1).numpy()]))[:40, 40:]
    assert np.median(np.diag(correlation)) > 0.8 and np.median(correlation) < 0.5


def test_what_is_not_known_is_refused():
    with pytest.raises(InputError, match="'snow' is not known"):
        _disturbed(_images(2), shares={"snow": 0.5})
