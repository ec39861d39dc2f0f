"""What happens to pictures: undone exactly, named in words, with the camera of the picture before."""

import itertools

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.picture_change import SPACINGS, PictureChange, picture_before
from DiffPoseRegistrationLib.imaging.values import XRay

MOVES = [PictureChange(mirrored, turned) for mirrored in (False, True) for turned in (0, 90, 180, 270)]
PICTURE = np.arange(20 * 30, dtype=np.float32).reshape(20, 30)


@pytest.mark.parametrize("change", MOVES, ids=lambda change: change.words)
def test_moves_are_undone(change):
    moved = change.applied(PICTURE)
    np.testing.assert_array_equal(change.undone(moved), PICTURE)
    assert np.array_equal(moved, PICTURE) == (change == PictureChange())


def test_words_name_what_numpy_does():
    for change, moved in (
        (PictureChange(turned_deg=90), np.rot90(PICTURE, -1)),  # numpy turns counter-clockwise
        (PictureChange(turned_deg=270), np.rot90(PICTURE)),
        (PictureChange(mirrored=True), np.fliplr(PICTURE)),
        (PictureChange(mirrored=True, turned_deg=180), np.flipud(PICTURE)),
    ):
        np.testing.assert_array_equal(change.applied(PICTURE), moved)
    assert PictureChange(turned_deg=270).words == "turned by 90 degrees counter-clockwise"
    assert PictureChange(mirrored=True, turned_deg=180).words == "mirrored top to bottom"
    every = [
        PictureChange(m, t, i, s).words
        for m, t, i, s in itertools.product((False, True), (0, 90, 180, 270), (False, True), SPACINGS)
    ]
    assert len(set(every)) == 64 and every[0] == "as it is"


def test_camera_of_the_picture_before():
    camera = Camera(1000, 30, 20, (0.4, 0.5), (9.0, 12.0))
    stored = XRay(np.rot90(PICTURE, -1), camera)
    before = picture_before(PictureChange(turned_deg=90), stored, 1.4)
    np.testing.assert_array_equal(before.attenuation, PICTURE)
    assert (before.camera.rows, before.camera.columns, before.camera.pixel_spacing_mm) == (20, 30, (0.5, 0.4))
    # Where the beam's axis met the stored picture it meets the one before: one pixel, seen in both.
    assert before.camera.principal_point_px == (12.0, 20 - 1 - 9.0)
    assert PICTURE[20 - 1 - 9, 12] == stored.attenuation[12, 9]
    for spacing, expected in (
        ("of the patient", (0.56, 0.7)),
        ("magnified", (0.4 / 1.4, 0.5 / 1.4)),
        ("exchanged", (0.5, 0.4)),
    ):
        found = picture_before(PictureChange(spacing=spacing), stored, 1.4).camera
        assert found.pixel_spacing_mm == pytest.approx(expected) and found.rows == 30
