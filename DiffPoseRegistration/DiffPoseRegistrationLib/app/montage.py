"""What a network will learn: simulated X-rays from the range of poses, side by side."""

from __future__ import annotations

import numpy as np

from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from .ct_node import PatientCT
from .pictures import as_grey

COLUMNS, ROWS = 5, 2
_TILE_PX = 96


def montage(patient: PatientCT, camera: Camera, around: PoseRange) -> np.ndarray:
    """A page [row, column], uint8, of X-rays of ``patient``: first the middle of the range, then others of it."""
    count = COLUMNS * ROWS
    poses = np.concatenate([around.centre[None], around.sample(np.random.default_rng(0), count - 1)])
    # The logarithm of the radiation, as the network gets it: on the radiation's own scale thick parts are black.
    tiles = [-patient.drr.render(camera, pose, _TILE_PX) for pose in poses]
    height, width = tiles[0].shape
    page = np.zeros((ROWS * height, COLUMNS * width), np.uint8)
    for n, tile in enumerate(tiles):
        row, column = n // COLUMNS * height, n % COLUMNS * width
        page[row : row + height, column : column + width] = as_grey(tile, *np.percentile(tile, [0.5, 99.5]))
    return page
