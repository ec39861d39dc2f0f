"""The refinement: many cheap coarse starts, few fine ones, one answer with its doubt (see ``schedule``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InputError
from ..imaging.values import XRay
from ..rendering.renderer import Renderer
from .deadline import Deadline, TimeUp
from .descent import Alternative, Descent
from .intrinsics import RefinedIntrinsics, fit_intrinsics
from .judgement import judge
from .levenberg_marquardt import minimise
from .optimiser import OnStep
from .schedule import ISOLATED, WHOLE_BODY, SearchSettings
from .starts import Hypotheses, mirrored_twins, starts_of
from .views import PosePrior, StageObjective, View

_ALONE_ITERATIONS = 6


@dataclass
class Refinement:
    """What the refinement found.

    pose
        Refined pose [4, 4] (of the first view). covariance [6, 6]: of the twist about the isocentre
        (rad, mm; world axes).
    similarity
        Weighted mean NCC over the windows of the finest stage, between -1 and 1; of several views the mean.
        view_similarities: of each view.
    agreement
        Share of the starts that ended in this pose's neighbourhood; None if there was one start only.
    intrinsics
        Of each view, if they were to be refined too.
    poses_by_view
        Where each of several views alone would have the shared pose [4, 4], near the one found; empty for one view.
    starts
        How many poses were descended from.
    alternatives
        Other answers that survived to the scales that compare them, best first.
    finished
        False if the time was up before.
    renders
        Simulated X-rays spent.
    trajectory
        One entry a step: stage, cost, pose.
    """

    pose: np.ndarray
    initial_pose: np.ndarray
    covariance: np.ndarray
    similarity: float
    view_similarities: list[float]
    intrinsics: tuple[RefinedIntrinsics, ...]
    poses_by_view: list[np.ndarray]
    agreement: float | None
    starts: int
    alternatives: tuple[Alternative, ...]
    finished: bool
    renders: int
    seconds: dict[str, float]
    trajectory: list[dict] = field(default_factory=list)

    @property
    def runner_up_gap(self) -> float:
        """How much worse the best alternative is, see :class:`.descent.Alternative`; infinite if there is none."""
        return min((other.gap for other in self.alternatives), default=float("inf"))


def refine(
    renderer: Renderer,
    xray: XRay | Sequence[View],
    initial_poses: Hypotheses | np.ndarray,
    settings: SearchSettings | None = None,
    isocentre: np.ndarray | None = None,
    on_step: OnStep | None = None,
    seconds: float | None = None,
) -> Refinement:
    """Refines the pose of an X-ray, or of calibrated views together, from hypotheses (or poses [n, 4, 4], best first).

    With several views the poses are the first view's. ``isocentre`` [3] (RAS) is the point about which
    updates turn, by default the CT's centre. What ``on_step`` raises ends the search. After ``seconds`` (None: no
    limit) the best pose so far is taken and judged.

    Raises
    ------
    InputError
        If the CT does not project into the image from any of the poses.
    """
    settings = settings or SearchSettings()
    hypotheses = Hypotheses.of(initial_poses)
    isocentre = renderer.isocentre if isocentre is None else np.asarray(isocentre, dtype=np.float64)
    schedule = settings.schedule or (ISOLATED if renderer.is_cut_out else WHOLE_BODY)
    places = hypotheses.poses
    if settings.twins:
        places = np.concatenate([places, *(mirrored_twins(pose, isocentre) for pose in places)])
    views = [View.single(xray)] if isinstance(xray, XRay) else list(xray)
    views = [view.cropped(renderer, places, settings.half_range[-1]) for view in views]
    prior = None
    if schedule.prior_weight > 0 and len(views) == 1:
        prior = PosePrior(places, isocentre, settings.half_range, schedule.prior_weight)
    renders_before = renderer.renders
    descent = Descent(renderer, views, isocentre, prior, on_step)
    deadline = Deadline(seconds)
    starts = starts_of(hypotheses, isocentre, settings)
    finished = True
    try:
        with renderer.checking(deadline.check):
            found = descent.from_starts(starts, schedule, settings, places)
    except TimeUp:
        found, finished = descent.so_far(), False
    objective = descent.objective_at_last(schedule, found.pose[None])
    judgement = judge(objective, found.pose)
    if not np.isfinite(judgement.similarity):
        raise InputError(
            f"{views[0].xray.name}: the CT does not project into the image from the starting pose; check the pose "
            "and the X-ray's geometry."
        )
    pose = found.pose
    refined: tuple[RefinedIntrinsics, ...] = ()
    if settings.intrinsics and finished:
        try:
            with renderer.checking(deadline.check):
                fit = fit_intrinsics(descent, schedule, pose, settings.intrinsics, on_step)
        except TimeUp:
            finished = False
        else:
            pose, refined, objective = fit.pose, fit.refined, fit.objective
            judgement = replace(judge(objective, pose), covariance=fit.covariance)
    return Refinement(
        pose=pose,
        intrinsics=refined,
        initial_pose=hypotheses.poses[0],
        covariance=judgement.covariance,
        similarity=judgement.similarity,
        view_similarities=judgement.view_similarities,
        poses_by_view=_by_view(objective, pose, isocentre),
        agreement=found.agreement,
        starts=found.starts,
        alternatives=found.alternatives,
        finished=finished,
        renders=renderer.renders - renders_before,
        seconds=descent.seconds,
        trajectory=descent.trajectory,
    )


def _by_view(objective: StageObjective, pose: np.ndarray, isocentre: np.ndarray) -> list[np.ndarray]:
    if len(objective.views) == 1:
        return []
    alone = [objective.of_view(n) for n in range(len(objective.views))]
    return [minimise(view, pose[None], isocentre, iterations=_ALONE_ITERATIONS).poses[0] for view in alone]
