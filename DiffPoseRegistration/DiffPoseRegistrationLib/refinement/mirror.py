"""Whether the X-ray's mirror image fits the CT as well as the X-ray itself.

No DICOM tag tells from which side a stored image is seen, pictures get flipped on their way, and people are nearly
symmetric: a mirrored X-ray finds a pose that looks right. So the other reading is tried too, from few starts and at
few pixels, where the two can already be told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..geometry.camera import VIEWED_FROM
from ..rendering.renderer import Renderer
from .judgement import judge
from .refine import Refinement, refine
from .schedule import WHOLE_BODY, IntrinsicsTolerance, SearchSettings, Stage
from .views import StageObjective, View, clutter_weights

_LEFT_RIGHT = np.diag([-1.0, 1.0, 1.0, 1.0])


def mirror_gap(
    renderer: Renderer,
    views: Sequence[View],
    found: Refinement,
    settings: SearchSettings,
    seconds: float | None = None,
) -> float | None:
    """How much worse the ``views`` fit when they are read as seen from the detector's side instead of the source's (or
    the reverse): their 1 - NCC over that of the pose ``found``, less one; negative if they fit better so, infinite if
    the CT does not project into them then or is a single structure, and None if ``seconds`` did not suffice.

    The search starts where ``found`` started, and where a patient who is symmetric about the sagittal plane through
    the CT's centre would be seen from to show the mirror image of what is seen from the pose found.
    """
    if renderer.is_cut_out:
        return float("inf")  # a bone is not symmetric, and its mirror image fits badly enough to be told by that
    schedule = settings.schedule or WHOLE_BODY
    coarse = replace(schedule, refinement=schedule.refinement[:1], search_wider_below=-1.0)
    starts = np.stack([mirrored_pose(found.pose, renderer.isocentre), found.initial_pose])
    settings = replace(
        settings,
        rotation_deg=0.0,
        twins=False,
        grid=None,
        intrinsics=IntrinsicsTolerance(),
        schedule=coarse,
    )
    others = [_mirrored(view) for view in views]
    try:
        other = refine(renderer, others, starts, settings, seconds=seconds)
    except InputError:
        return float("inf")
    if not other.finished:
        return None
    mirrored, plain = _costs(renderer, coarse.refinement[0], [(others, other.pose), (views, found.pose)])
    return mirrored / max(plain, 1e-9) - 1 if np.isfinite(mirrored) else float("inf")


def _costs(renderer: Renderer, stage: Stage, readings: Sequence[tuple[Sequence[View], np.ndarray]]) -> list[float]:
    """1 - NCC of each reading of the same images (views, pose [4, 4]), with less weight on what neither explains."""

    def objective(views: Sequence[View], pose: np.ndarray, clutter: list[np.ndarray] | None) -> StageObjective:
        distance = float(np.linalg.norm(pose[:3, 3] - renderer.isocentre))
        return StageObjective(renderer, list(views), stage, renderer.isocentre, distance, clutter)

    plain = [objective(views, pose, None) for views, pose in readings]
    clutter = [
        clutter_weights(level, np.concatenate([o.render(n, pose[None])[0] for o, (_, pose) in zip(plain, readings)]))
        for n, level in enumerate(plain[0].levels)
    ]
    return [1 - judge(objective(views, pose, clutter), pose).similarity for views, pose in readings]


def mirrored_pose(pose: np.ndarray, isocentre: np.ndarray) -> np.ndarray:
    """The pose [4, 4] from which a volume that is symmetric about the sagittal plane through ``isocentre`` [3] shows
    the mirror image (columns reversed) of what it shows from ``pose``."""
    across = _LEFT_RIGHT.copy()
    across[0, 3] = 2 * isocentre[0]
    return across @ pose @ _LEFT_RIGHT


def _mirrored(view: View) -> View:
    camera = view.xray.camera
    other_side = next(side for side in VIEWED_FROM if side != camera.viewed_from)
    xray = replace(view.xray, camera=replace(camera, viewed_from=other_side))
    return View(xray, view.from_first)  # the cameras stand where they stood
