"""Collimation and saturation on drawn images of known field."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.imaging.masks import exposed_field, saturation

SIZE = (300, 400)


@pytest.fixture
def picture() -> np.ndarray:
    """A structured, noisy picture [300, 400] between 60 and 250, with a dark limb across it."""
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    values = 200 + 30 * np.sin(row / 23) * np.cos(column / 31) - 120 * (np.abs(column - 180 - 0.2 * row) < 40)
    return values + np.random.default_rng(0).normal(0, 3, SIZE)


def circle(radius: float) -> np.ndarray:
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.hypot(row - 152, column - 195) < radius


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_whole_image_exposed(picture):
    for shown in (picture, 255 - picture, np.exp(picture / 20)):
        found = exposed_field(shown)
        assert found.shape is None and found.mask.all()


@pytest.mark.parametrize("radius", [145, 180])
@pytest.mark.parametrize("level", [0, 12])
def test_round_field(picture, radius, level):
    inside = circle(radius)
    found = exposed_field(np.where(inside, picture, level))
    assert (found.shape, found.outside) == ("round", "dark")
    assert (found.mask & ~inside).sum() == 0  # nothing from outside is used
    assert agreement(found.mask, inside) > 0.93
    assert agreement(found.mask, np.roll(inside, 25, axis=1)) < 0.93  # the control: a field elsewhere


@pytest.mark.parametrize("outside, level", [("dark", 0), ("bright", 255)])
def test_straight_blades(picture, outside, level):
    inside = np.zeros(SIZE, bool)
    inside[30:250, 60:] = True
    found = exposed_field(np.where(inside, picture, level))
    assert (found.shape, found.outside) == ("rectangular", outside)
    assert (found.mask & ~inside).sum() == 0
    assert agreement(found.mask, inside) > 0.93
    assert found.mask[100, -1]  # the side without a blade loses nothing


def test_head_in_bright_air_is_not_a_field():
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    head = ((row - 150) / 110) ** 2 + ((column - 200) / 80) ** 2 < 1
    shown = np.where(head, 90 + 20 * np.sin(row / 9), 250) + np.random.default_rng(1).normal(0, 2, SIZE)
    assert exposed_field(shown).mask.all()
    assert exposed_field(255 - shown).mask.all()


def test_saturation_is_masked_at_the_dense_end_only(picture):
    values = np.round(picture)
    values[100:130, 100:140] = values.min() - 1  # metal: no radiation
    values[200:240, 250:300] = values.max() + 1  # open field, clipped
    values[5, 5] = values.min()  # a single dead pixel is no region
    everywhere = np.ones(SIZE, bool)
    expected = np.zeros(SIZE, bool)
    expected[100:130, 100:140] = True
    np.testing.assert_array_equal(saturation(values, everywhere, at_largest=False), expected)
    np.testing.assert_array_equal(saturation(-values, everywhere, at_largest=True), expected)
    assert not saturation(values, everywhere & ~expected, at_largest=False).any()


@pytest.mark.parametrize("polarity", [1, -1])
def test_blades_brighter_than_the_densest_part_of_the_patient(picture, polarity):
    """Scatter reaches behind the blades, and metal in the patient is darker than they: no threshold parts them."""
    inside = np.zeros(SIZE, bool)
    inside[30:250, 60:] = True
    picture[100:140, 200:300] = 20  # metal
    blades = np.random.default_rng(1).normal(95, 2, SIZE)
    found = exposed_field(polarity * np.where(inside, picture, blades))
    assert (found.shape, found.outside) == ("rectangular", "dark" if polarity > 0 else "bright")
    assert (found.mask & ~inside).sum() == 0
    assert agreement(found.mask, inside) > 0.93


@pytest.mark.parametrize("polarity", [1, -1])
def test_air_on_both_sides_of_a_straight_limb_is_not_a_field(picture, polarity):
    """It is alike all along each line and ends at once, but nothing is more open."""
    limb = np.zeros(SIZE, bool)
    limb[:, 120:300] = True
    air = np.random.default_rng(1).normal(300, 2, SIZE)
    assert exposed_field(polarity * np.where(limb, picture, air)).outside != ("dark" if polarity > 0 else "bright")
