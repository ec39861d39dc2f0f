"""Aiming the camera: the same rays, so the same X-ray, seen with another principal axis, roll and focal length.

What the network reads from an X-ray it reads better where the isocentre is in the middle, upright and of its usual
size. Turned about its source and zoomed there, an X-ray needs no new exposure: its rays are those it had, and what its
detector did not cover is masked. So a part of the training images is aimed at the isocentre, and an X-ray is read
several times: as it is, aimed at where that reading puts the isocentre, and so on, at last from several sides, whose
mean is better than each. What then is left to read is small in all but the two angles of the view.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..geometry import rigid
from ..geometry.camera import Camera

# Added to an exact aim, either way: turns about the camera's x, y and z, and the zoom's logarithm.
SPREAD_DEG, SPREAD_ZOOM = np.array([1.5, 1.5, 4.0]), 0.05
MOST_ZOOM = 2.0  # and its inverse: beyond it the reading is wrong, not the patient near


class Aim(NamedTuple):
    """Where cameras are aimed: one of pose P gets the pose P ``turn``, and shows everything ``zoom`` times as large.

    turns
        [n, 3, 3].
    zooms
        [n].
    """

    turns: np.ndarray
    zooms: np.ndarray

    def then(self, other: Aim) -> Aim:
        """This and after it ``other`` (of as many cameras, or of one)."""
        return Aim(self.turns @ other.turns, self.zooms * other.zooms)

    def of(self, chosen: slice) -> Aim:
        """Those of some of the cameras."""
        return Aim(self.turns[chosen], self.zooms[chosen])


def straight(count: int) -> Aim:
    """Cameras as they are."""
    return Aim(np.tile(np.eye(3), (count, 1, 1)), np.ones(count))


def towards(rotations: np.ndarray, positions: np.ndarray, depth_mm: float) -> Aim:
    """The aim with which cameras see the isocentre on their axis, as large as if it were ``depth_mm`` away, and the
    image without roll.

    ``rotations`` [n, 3, 3] and ``positions`` [n, 3] are those of a ``PoseFrame``; a turned camera's rotation is
    ``rotation @ turn`` and its position ``turn.T @ position``.
    """
    distance = np.linalg.norm(positions, axis=1)
    direction = positions / distance[:, None]
    axis = np.cross([0.0, 0.0, 1.0], direction)
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.arctan2(sine, direction[:, 2:])
    turns = rigid.so3_exp(axis / np.maximum(sine, 1e-12) * angle)
    turned = rotations @ turns
    upright = np.zeros((len(turns), 3))
    upright[:, 2] = -np.arctan2(turned[:, 1, 0], turned[:, 1, 1])
    zooms = np.clip(distance / depth_mm, 1 / MOST_ZOOM, MOST_ZOOM)
    return Aim(turns @ rigid.so3_exp(upright), zooms)


def spread(random: np.random.Generator, count: int) -> Aim:
    """Small random turns about the cameras' own axes, and zooms."""
    numbers = random.uniform(-1, 1, (count, 4))
    return Aim(rigid.so3_exp(np.deg2rad(numbers[:, :3] * SPREAD_DEG)), np.exp(SPREAD_ZOOM * numbers[:, 3]))


def seen_pixels(seen_by: Camera, camera: Camera, aim: Aim) -> np.ndarray:
    """Where ``seen_by`` sees what the pixels of ``camera``, aimed from the common source, look at: pixels
    [n, rows, columns, 2] = (column, row), float32; NaN behind the source."""
    # Without parallax a turn and a zoom are a homography of the image: K turn zoom^-1 K'^-1.
    onto, back = (c.image_to_camera()[:3, [0, 1, 3]] for c in (seen_by, camera))
    shrunk = np.stack([1 / aim.zooms, 1 / aim.zooms, np.ones_like(aim.zooms)], axis=-1)
    homography = np.linalg.inv(onto) @ (aim.turns * shrunk[:, None]) @ back
    across, down, corner = np.moveaxis(homography.astype(np.float32)[:, None, None], -1, 0)
    columns = np.arange(camera.columns, dtype=np.float32)[None, None, :, None]
    rows = np.arange(camera.rows, dtype=np.float32)[None, :, None, None]
    pixels = across * columns + (down * rows + corner)
    with np.errstate(divide="ignore", invalid="ignore"):
        return pixels[..., :2] / np.where(pixels[..., 2:] > 0, pixels[..., 2:], np.nan)


def covered(seen_by: Camera, camera: Camera, aim: Aim) -> np.ndarray:
    """Which pixels of the aimed ``camera`` look at the detector of ``seen_by``: bool [n, rows, columns]."""
    pixels = seen_pixels(seen_by, camera, aim)
    size = np.array([seen_by.columns, seen_by.rows], dtype=np.float32)
    with np.errstate(invalid="ignore"):
        inside: np.ndarray = (pixels >= -0.5) & (pixels <= size - 0.5)
    return np.asarray(inside[..., 0] & inside[..., 1])
