"""The refinement: many cheap coarse starts, few fine ones, one answer with its doubt (see ``schedule``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InputError
from ..imaging.values import XRay
from ..rendering.renderer import Renderer
from .deadline import Deadline, TimeUp
from .descent import ELSEWHERE_MM, Alternative, Descent, Found, distance_mm
from .intrinsics import RefinedIntrinsics, fit_intrinsics
from .judgement import Judgement, judge
from .levenberg_marquardt import minimise
from .optimiser import OnStep
from .schedule import ISOLATED, WHOLE_BODY, Schedule, SearchSettings
from .starts import Hypotheses, mirrored_twins, random_starts, starts_of
from .views import PosePrior, StageObjective, View

WIDER_STARTS = 60  # random poses of the wider search
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
    found, judgement, finished = _searched(descent, starts, places, schedule, settings, deadline)
    if not np.isfinite(judgement.similarity):
        raise InputError(
            f"{views[0].xray.name}: the CT does not project into the image from the starting pose; check the pose "
            "and the X-ray's geometry."
        )
    pose, refined = found.pose, ()
    objective = descent.objective_at_last(schedule, pose[None])
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


def _searched(
    descent: Descent,
    starts: np.ndarray,
    places: np.ndarray,
    schedule: Schedule,
    settings: SearchSettings,
    deadline: Deadline,
) -> tuple[Found, Judgement, bool]:
    """What a pass from ``starts`` finds, or a second and wider one if the images then do not agree; and whether the
    time sufficed."""

    def one_pass(starts: np.ndarray, settings: SearchSettings) -> tuple[Found, bool]:
        try:
            with descent.renderer.checking(deadline.check):
                return descent.from_starts(starts, schedule, settings, places), True
        except TimeUp:
            return descent.so_far(), False

    found, finished = one_pass(starts, settings)
    judgement = judge(descent.objective_at_last(schedule, found.pose[None]), found.pose)
    if finished and judgement.similarity < schedule.search_wider_below and settings.rotation_deg > 0:
        # Nothing is lost by looking at many more poses, further away.
        wider = settings.wider()
        around = random_starts(places, descent.isocentre, wider, WIDER_STARTS)
        again, finished = one_pass(np.concatenate([starts, around]), wider)
        found, judgement = _better(found, again, descent, schedule)
    return found, judgement, finished


def _by_view(objective: StageObjective, pose: np.ndarray, isocentre: np.ndarray) -> list[np.ndarray]:
    if len(objective.views) == 1:
        return []
    alone = [objective.of_view(n) for n in range(len(objective.views))]
    return [minimise(view, pose[None], isocentre, iterations=_ALONE_ITERATIONS).poses[0] for view in alone]


def _better(a: Found, b: Found, descent: Descent, schedule: Schedule) -> tuple[Found, Judgement]:
    """The better of two passes, with the other's pose among its alternatives, judged with the same pixels."""
    poses = np.stack([a.pose, b.pose])
    if schedule.clutter_aware:
        descent.weigh_down_clutter(poses, schedule.search[-1])
    objective = descent.objective_at_last(schedule, poses)
    judgements = [judge(objective, pose) for pose in poses]
    costs = [1 - j.similarity if np.isfinite(j.similarity) else np.inf for j in judgements]
    best = int(np.argmin(costs))
    found, other = (a, b) if best == 0 else (b, a)
    others = list(found.alternatives)
    if distance_mm(other.pose, found.pose, descent.isocentre) > ELSEWHERE_MM:
        others.append(Alternative(other.pose, costs[1 - best] / max(costs[best], 1e-9) - 1.0))
    return replace(found, alternatives=tuple(sorted(others, key=lambda one: one.gap))), judgements[best]
