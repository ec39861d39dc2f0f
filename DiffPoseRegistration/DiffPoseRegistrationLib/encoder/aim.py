"""Turning the camera about its source: the same rays, so the same X-ray, seen with another principal axis and roll.

What the network reads from an X-ray it reads better where the isocentre is in the middle and the image upright. Turned
there, an X-ray needs no new exposure: its rays are those it had, and what its detector did not cover is masked. So a
part of the training images is turned towards the isocentre, and an X-ray is read twice: as it is, and turned
towards where that reading puts the isocentre, from several sides, whose mean is better than each.
"""

from __future__ import annotations

import numpy as np

from ..geometry import rigid
from ..geometry.camera import Camera

SPREAD_DEG = np.array([1.5, 1.5, 4.0])  # of the turns about the camera's x, y and z that are added to an exact aim


def towards(rotations: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Turns [n, 3, 3] after which cameras see the isocentre on their axis and the image without roll.

    ``rotations`` [n, 3, 3] and ``positions`` [n, 3] are those of a ``PoseFrame``; a camera of pose P then has the pose
    P turn, its rotation is ``rotation @ turn`` and its position ``turn.T @ position``.
    """
    direction = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    axis = np.cross([0.0, 0.0, 1.0], direction)
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.arctan2(sine, direction[:, 2:])
    turns = rigid.so3_exp(axis / np.maximum(sine, 1e-12) * angle)
    turned = rotations @ turns
    upright = np.zeros((len(turns), 3))
    upright[:, 2] = -np.arctan2(turned[:, 1, 0], turned[:, 1, 1])
    return turns @ rigid.so3_exp(upright)


def spread(random: np.random.Generator, count: int) -> np.ndarray:
    """Small random turns [count, 3, 3] about the camera's own axes."""
    return rigid.so3_exp(np.deg2rad(random.uniform(-1, 1, (count, 3)) * SPREAD_DEG))


def seen_pixels(seen_by: Camera, camera: Camera, turns: np.ndarray) -> np.ndarray:
    """Where ``seen_by`` sees what the pixels of ``camera``, turned about the common source, look at: pixels
    [n, rows, columns, 2] = (column, row), float32, for ``turns`` [n, 3, 3]; NaN behind the source."""
    # Without parallax a turn is a homography of the image: K turn K'^-1.
    onto, back = (c.image_to_camera()[:3, [0, 1, 3]] for c in (seen_by, camera))
    across, down, corner = np.moveaxis((np.linalg.inv(onto) @ turns @ back).astype(np.float32)[:, None, None], -1, 0)
    columns = np.arange(camera.columns, dtype=np.float32)[None, None, :, None]
    rows = np.arange(camera.rows, dtype=np.float32)[None, :, None, None]
    pixels = across * columns + (down * rows + corner)
    with np.errstate(divide="ignore", invalid="ignore"):
        return pixels[..., :2] / np.where(pixels[..., 2:] > 0, pixels[..., 2:], np.nan)


def covered(seen_by: Camera, camera: Camera, turns: np.ndarray) -> np.ndarray:
    """Which pixels of the turned ``camera`` look at the detector of ``seen_by``: bool [n, rows, columns]."""
    pixels = seen_pixels(seen_by, camera, turns)
    size = np.array([seen_by.columns, seen_by.rows], dtype=np.float32)
    with np.errstate(invalid="ignore"):
        inside: np.ndarray = (pixels >= -0.5) & (pixels <= size - 0.5)
    return np.asarray(inside.all(-1))
