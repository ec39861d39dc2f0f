"""At which scales, with which measure and from how many poses a refinement works.

1. **Search**: every start is moved by Levenberg-Marquardt at 12 and 24 pixels with global NCC. Few pixels
   are not only cheap; the averaged image is smooth, so the linearisation holds over centimetres.
2. **Select**: at 64 pixels, global and local NCC judge the distinct survivors.
3. **Refine**: at 128 and 256 pixels with local NCC, which other programs' intensities and soft tissue
   outside the CT do not fool.

A bone cut out of a CT is another matter: most of what the X-ray shows is not in the CT at all, and only
edges are common to both. Then second derivatives find the place and gradients refine it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Stage:
    """One scale of the schedule.

    side
        Longest side of the image in pixels.
    windows, shares
        Window sides in pixels (0: the whole image) and their weights in the objective.
    iterations, tolerance_mm
        Limits of the optimiser.
    damping
        With which it begins; little where the minimum is near and full steps lead there.
    keep
        How many of the best distinct poses go on to the next stage.
    robust_scale, image_filter, sigma_px
        See :class:`.similarity.WindowedNCC`.
    """

    side: int
    windows: tuple[int, ...]
    shares: tuple[float, ...]
    iterations: int
    tolerance_mm: float
    keep: int
    robust_scale: float | None = None
    image_filter: str = "none"
    sigma_px: float = 1.0
    damping: float = 1e-2


@dataclass(frozen=True)
class Schedule:
    """Stages of the search for the neighbourhood, then of the refinement in it.

    clutter_aware
        Whether the search is repeated with less weight on what no pose explains, if that is much.
    screened
        How many random poses of the search range are looked at before the search starts from the best of
        them; edges capture so little that descending from a fixed few would miss.
    prior_weight
        Cost of being off the given pose by the search range in one coordinate. One view of one bone hardly
        tells depth; where the image is silent, what the person knew about the pose should speak.
    search_wider_below
        If the similarity at the first scale of the refinement is below this, the search is repeated once from many
        more poses, further away. (Another program's X-rays of whole bodies have 0.99 there at a right pose, and up to
        0.89 at a wrong one.)
    """

    search: tuple[Stage, ...]
    refinement: tuple[Stage, ...]
    clutter_aware: bool = False
    screened: int = 0
    prior_weight: float = 0.0
    search_wider_below: float = -1.0


# The CT holds (nearly) everything that the X-ray shows.
WHOLE_BODY = Schedule(
    search=(Stage(12, (0,), (1.0,), 15, 1.0, 12), Stage(24, (0,), (1.0,), 15, 0.5, 4)),
    refinement=(
        Stage(64, (0, 16), (0.4, 0.6), 12, 0.2, 2, 0.3, damping=1e-3),
        Stage(128, (12,), (1.0,), 10, 0.1, 1, 0.3, damping=1e-4),
        Stage(256, (16,), (1.0,), 2, 0.02, 1, 0.3, damping=1e-4),
    ),
    clutter_aware=True,
    search_wider_below=0.92,
)
# The CT holds one structure among others that the X-ray shows.
ISOLATED = Schedule(
    search=(
        Stage(48, (0,), (1.0,), 15, 0.3, 8, None, "laplacian", 1.5),
        Stage(64, (0,), (1.0,), 15, 0.1, 6, None, "laplacian", 1.5),
    ),
    refinement=(
        Stage(128, (0,), (1.0,), 12, 0.05, 4, None, "laplacian", 1.5),
        Stage(256, (0,), (1.0,), 12, 0.02, 2, None, "gradient", 1.0),
        Stage(400, (0,), (1.0,), 8, 0.02, 1, None, "gradient", 1.0),
    ),
    screened=300,
    prior_weight=0.01,
)


@dataclass(frozen=True)
class IntrinsicsTolerance:
    """How far what is known of the camera may be off: source to detector in mm, principal point in pixels of the X-ray
    along columns and rows. What has no tolerance is not touched."""

    source_to_detector_mm: float = 0.0
    principal_point_px: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.source_to_detector_mm, self.principal_point_px):
            if not 0 <= value <= 1e4:
                raise InputError(f"A tolerance of the camera is {value:g}; give millimetres and pixels from 0 upwards.")

    def __bool__(self) -> bool:
        return self.source_to_detector_mm > 0 or self.principal_point_px > 0


@dataclass(frozen=True)
class SearchSettings:
    """How far around the given pose(s) the truth is looked for.

    rotation_deg
        Extra starts are turned by this much about the six half-axes and eight diagonals.
    translation_mm
        Expected error of the given pose across the beam, for the part of the image that is used.
    schedule
        The scales; None: chosen by whether the CT is one structure cut out of a body.
    twins
        Whether to start from the opposite side too, see :func:`.starts.mirrored_twins`.
    grid
        Half ranges (degrees, mm) of a grid of further starts about the likeliest pose; None: no grid.
    intrinsics
        Within which the cameras are refined too, once the pose is found.
    """

    rotation_deg: float = 20.0
    translation_mm: float = 60.0
    schedule: Schedule | None = None
    twins: bool = False
    grid: tuple[float, float] | None = None
    intrinsics: IntrinsicsTolerance = IntrinsicsTolerance()

    def wider(self) -> SearchSettings:
        """Half as far again in rotation, as far in translation (the image's crop was made for that)."""
        return replace(self, rotation_deg=min(1.5 * self.rotation_deg, 180.0))

    @property
    def half_range(self) -> np.ndarray:
        """Half widths [6] of the search range as a twist (rad, mm)."""
        grid_deg, grid_mm = self.grid or (0.0, 0.0)
        turn = np.deg2rad(max(self.rotation_deg, grid_deg, 0.1))
        return np.array([turn] * 3 + [max(self.translation_mm, grid_mm, 0.1)] * 3)
