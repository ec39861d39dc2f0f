"""Where a search begins: hypotheses about the pose, and the poses around them that are tried too."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..geometry.pose_range import displaced
from .schedule import SearchSettings

SPREAD_AROUND = 4  # of the heaviest hypotheses; each of the others is a start by itself
NEGLIGIBLE_WEIGHT = 0.01  # of the heaviest; what is believed less is not tried
GRID_STEP_DEG, GRID_STEP_MM = 25.0, 80.0  # what a search at 12 pixels captures from either side


@dataclass(frozen=True)
class Hypotheses:
    """Poses that the X-ray may have been taken from, the likeliest first.

    Parameters
    ----------
    poses
        Camera to world, [n, 4, 4] or [4, 4].
    weights
        [n], how likely each is, on any scale; None: all alike, in the order given.

    Raises
    ------
    InputError
        If there is no pose, one is not rigid, or the weights are not n numbers from zero upwards with one above it.
    """

    poses: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        poses = np.asarray(self.poses, dtype=np.float64)
        if poses.size == 0 or poses.size % 16 or poses.shape[-2:] != (4, 4):
            raise InputError(f"The initial poses have shape {poses.shape}; give 4x4 matrices in RAS millimetres.")
        poses = poses.reshape(-1, 4, 4)
        for n, pose in enumerate(poses):
            rigid.validated_pose(pose, "The initial pose" if len(poses) == 1 else f"Initial pose {n}")
        weights = np.ones(len(poses)) if self.weights is None else np.asarray(self.weights, dtype=np.float64)
        if weights.shape != (len(poses),) or not (np.isfinite(weights) & (weights >= 0)).all() or weights.max() <= 0:
            raise InputError(f"The weights of {len(poses)} initial poses must be as many numbers from 0 upwards.")
        order = np.argsort(-weights, kind="stable")
        order = order[weights[order] >= NEGLIGIBLE_WEIGHT * weights.max()]
        object.__setattr__(self, "poses", poses[order])
        object.__setattr__(self, "weights", weights[order] / weights[order].sum())

    @classmethod
    def of(cls, given: Hypotheses | np.ndarray) -> Hypotheses:
        return given if isinstance(given, Hypotheses) else cls(given)


def starts_of(hypotheses: Hypotheses, isocentre: np.ndarray, settings: SearchSettings) -> np.ndarray:
    """The poses [n, 4, 4] that a search descends from: every hypothesis, its twins and the grid about the likeliest
    if ``settings`` want them, and what :func:`spread_starts` lays around each of these."""
    poses = hypotheses.poses
    centres = [*poses[:SPREAD_AROUND]]
    if settings.twins:
        centres += [twin for pose in poses[:SPREAD_AROUND] for twin in mirrored_twins(pose, isocentre)]
    parts = [spread_starts(pose, isocentre, settings.rotation_deg) for pose in centres]
    if settings.grid is not None:
        parts.append(grid_starts(poses[0], isocentre, *settings.grid))
    return np.concatenate([*parts, poses[SPREAD_AROUND:]])


def spread_starts(pose: np.ndarray, isocentre: np.ndarray, rotation_deg: float) -> np.ndarray:
    """``pose`` and 14 poses turned about the isocentre: six half-axes and eight diagonals of the camera. Without
    a turn there is only ``pose``."""
    if rotation_deg == 0:
        return np.array(pose, dtype=np.float64)[None]
    axes = [v for v in itertools.product((-1.0, 0.0, 1.0), repeat=3) if np.abs(v).sum() in (1.0, 3.0)]
    directions = np.array([(0.0, 0.0, 0.0), *(np.array(v) / np.linalg.norm(v) for v in axes)])
    twists = np.zeros((len(directions), 6))
    twists[:, :3] = np.deg2rad(rotation_deg) * directions @ pose[:3, :3].T
    return rigid.update_pose(pose, twists, isocentre)


def random_starts(poses: np.ndarray, isocentre: np.ndarray, settings: SearchSettings, count: int) -> np.ndarray:
    """``count`` poses drawn about ``poses`` [n, 4, 4] in turn: rotations and translations uniform in the
    search range, always the same ones."""
    random = np.random.default_rng(0)
    twists = random.uniform(-1, 1, (count, 6)) * settings.half_range
    return rigid.update_pose(poses[np.arange(count) % len(poses)], twists, isocentre)


def mirrored_twins(pose: np.ndarray, isocentre: np.ndarray) -> np.ndarray:
    """The two poses [2, 4, 4] that ``pose`` may have been confused with, AP with PA.

    The first looks from the very opposite side: half a turn about the image's vertical, where the side was *named*
    wrongly. The second shows a patient who is symmetric about the sagittal plane through the isocentre the same
    picture, as far as parallel beams go, where the side was *seen* wrongly: with that mirror M it has the camera's
    axes ``(M x, M y, -M z)``. Both see the isocentre in the same place.
    """
    axes = pose[:3, :3]
    sagittal = np.diag([-1.0, 1.0, 1.0])
    seen_at = axes.T @ (np.asarray(isocentre, dtype=np.float64) - pose[:3, 3])
    twins = np.tile(np.eye(4), (2, 1, 1))
    twins[0, :3, :3] = axes @ np.diag([-1.0, 1.0, -1.0])
    twins[1, :3, :3] = sagittal @ axes @ np.diag([1.0, 1.0, -1.0])
    twins[:, :3, 3] = isocentre - twins[:, :3, :3] @ seen_at
    return twins


def grid_starts(pose: np.ndarray, isocentre: np.ndarray, rotation_deg: float, translation_mm: float) -> np.ndarray:
    """Poses [n, 4, 4] on a regular grid about ``pose``: each component of a rotation vector about the isocentre from
    -``rotation_deg`` to ``rotation_deg`` and each of a translation likewise (mm), in camera axes, in steps that a
    search bridges. In depth, which changes an image least, the steps are twice as long."""
    steps = np.array([GRID_STEP_DEG] * 3 + [GRID_STEP_MM, GRID_STEP_MM, 2 * GRID_STEP_MM])
    half = np.array([rotation_deg] * 3 + [translation_mm] * 3)
    counts = 2 * np.ceil(half / steps).astype(int) + 1
    lines = [np.linspace(-h, h, n) for h, n in zip(half, counts)]
    coordinates = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 6)
    return displaced(pose, isocentre, np.deg2rad(coordinates[:, :3]), coordinates[:, 3:])
