"""The refinement: many cheap coarse starts, few fine ones, one answer with its doubt (see ``schedule``)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..imaging.values import XRay
from ..rendering.renderer import Renderer
from .levenberg_marquardt import Minimum, minimise
from .schedule import ISOLATED, WHOLE_BODY, Schedule, SearchSettings, Stage
from .uncertainty import least_squares_covariance
from .views import PosePrior, StageObjective, View, clutter_weights

_SAME_NEIGHBOURHOOD_MM = 15.0
_CANDIDATES_FOR_CLUTTER = 3
WIDER_STARTS = 60  # random poses of the wider search

# on_step(stage name, best pose so far [4, 4], its cost)
StepCallback = Callable[[str, np.ndarray, float], None]


@dataclass
class Refinement:
    """What the refinement found.

    pose
        Refined pose [4, 4] (of the first view). covariance [6, 6]: of the twist about the isocentre
        (rad, mm; world axes).
    similarity
        Weighted mean NCC over the windows of the finest stage, between -1 and 1.
    agreement
        Share of the distinct poses in the last stage of the search that led to this pose.
    runner_up_gap
        How much worse the next distinct pose is at the finest scale that compared them: its 1 - NCC over
        this pose's, less one; infinite if no other pose survived.
    renders
        Simulated X-rays spent.
    trajectory
        One entry a step: stage, cost, pose.
    """

    pose: np.ndarray
    initial_pose: np.ndarray
    covariance: np.ndarray
    similarity: float
    agreement: float
    runner_up_gap: float
    renders: int
    seconds: dict[str, float]
    trajectory: list[dict] = field(default_factory=list)


def refine(
    renderer: Renderer,
    xray: XRay | Sequence[View],
    initial_poses: np.ndarray,
    settings: SearchSettings | None = None,
    isocentre: np.ndarray | None = None,
    on_step: StepCallback | None = None,
) -> Refinement:
    """Refines the pose of an X-ray, or of calibrated views together, from hypotheses [n, 4, 4], best first.

    With several views the poses are the first view's. ``isocentre`` [3] (RAS) is the point about which
    updates turn, by default the CT's centre. What ``on_step`` raises ends the search.

    Raises
    ------
    InputError
        If the CT does not project into the image from any of the poses.
    """
    settings = settings or SearchSettings()
    initial_poses = np.asarray(initial_poses, dtype=np.float64).reshape(-1, 4, 4)
    isocentre = renderer.isocentre if isocentre is None else np.asarray(isocentre, dtype=np.float64)
    views = [View.single(xray)] if isinstance(xray, XRay) else list(xray)
    views = [view.cropped(renderer, initial_poses, settings.translation_mm) for view in views]
    schedule = settings.schedule or (ISOLATED if renderer.is_cut_out else WHOLE_BODY)
    prior = None
    if schedule.prior_weight > 0 and len(views) == 1:
        prior = PosePrior(initial_poses[0], isocentre, settings.half_range, schedule.prior_weight)
    descent = _Descent(renderer, views, isocentre, prior, on_step)

    starts = np.concatenate([spread_starts(p, isocentre, settings.rotation_deg) for p in initial_poses])
    pose, agreement = descent.from_starts(starts, schedule, settings, initial_poses)
    similarity, covariance = _judge(descent.objective, pose)
    if similarity < schedule.search_wider_below and settings.rotation_deg > 0:
        # The images do not agree: nothing is lost by looking at many more poses, further away.
        wider = settings.wider()
        starts = np.concatenate([starts, random_starts(initial_poses, isocentre, wider, WIDER_STARTS)])
        again, agreement_again = descent.from_starts(starts, schedule, wider, initial_poses)
        similarity_again, covariance_again = _judge(descent.objective, again)
        if similarity_again > similarity:
            pose, agreement = again, agreement_again
            similarity, covariance = similarity_again, covariance_again
    if not np.isfinite(similarity):
        raise InputError(
            f"{views[0].xray.name}: the CT does not project into the image from the starting pose; check the pose "
            "and the X-ray's geometry."
        )
    return Refinement(
        pose=pose,
        initial_pose=initial_poses[0],
        covariance=covariance,
        similarity=similarity,
        agreement=agreement,
        runner_up_gap=descent.runner_up_gap,
        renders=renderer.renders - descent.renders_before,
        seconds=descent.seconds,
        trajectory=descent.trajectory,
    )


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


class _Descent:
    """Runs stages and keeps what they leave behind: time, trajectory, the last objective."""

    objective: StageObjective

    def __init__(
        self,
        renderer: Renderer,
        views: list[View],
        isocentre: np.ndarray,
        prior: PosePrior | None,
        on_step: StepCallback | None,
    ) -> None:
        self.renderer, self.views, self.isocentre = renderer, views, isocentre
        self.prior, self.on_step = prior, on_step
        self.clutter: list[np.ndarray] | None = None
        self.runner_up_gap = float("inf")
        self.seconds: dict[str, float] = {}
        self.trajectory: list[dict] = []
        self.renders_before = renderer.renders

    def from_starts(
        self, starts: np.ndarray, schedule: Schedule, settings: SearchSettings, initial_poses: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """The best pose [4, 4] that a whole schedule finds from ``starts``, and the starts' agreement."""
        self.clutter = None
        if schedule.screened:
            around = random_starts(initial_poses, self.isocentre, settings, schedule.screened)
            starts = self.best_of(np.concatenate([starts, around]), schedule.search[0], len(starts))
        poses, agreement = self.search(starts, schedule.search)
        if schedule.clutter_aware:
            self.weigh_down_clutter(poses[:_CANDIDATES_FOR_CLUTTER])
            poses, agreement = self.search(np.concatenate([poses, starts]), schedule.search)
        for stage in schedule.refinement:
            poses = self.run(stage, poses)
        return poses[0], agreement

    def best_of(self, poses: np.ndarray, stage: Stage, count: int) -> np.ndarray:
        """The ``count`` poses of lowest cost at a stage, without moving them."""
        objective = self._objective_at(stage, poses)
        cost = np.concatenate([objective(part)[0] for part in np.array_split(poses, max(1, len(poses) // 32))])
        return poses[np.argsort(cost)[:count]]

    def search(self, starts: np.ndarray, stages: tuple[Stage, ...]) -> tuple[np.ndarray, float]:
        """The distinct poses, best first, that the starts lead to, and the share of the poses that entered the
        last stage which ended where the best did."""
        poses = starts
        for stage in stages:
            poses = self.run(stage, poses)
        near = [_distance_mm(p, poses[0], self.isocentre) < _SAME_NEIGHBOURHOOD_MM for p in self._ended]
        return poses, float(np.mean(near))

    def run(self, stage: Stage, poses: np.ndarray) -> np.ndarray:
        """The best distinct poses after one stage, as many as it keeps."""
        started = time.perf_counter()
        name = f"{stage.side} px"
        self.objective = self._objective_at(stage, poses)

        def step(current: np.ndarray, cost: np.ndarray) -> None:
            best = int(np.argmin(cost))
            self.trajectory.append({"stage": name, "cost": float(cost[best]), "pose": current[best].tolist()})
            if self.on_step is not None:
                self.on_step(name, current[best], float(cost[best]))

        minimum = minimise(
            self.objective,
            poses,
            self.isocentre,
            iterations=stage.iterations,
            tolerance_mm=stage.tolerance_mm,
            on_step=step,
        )
        chosen = _distinct(minimum, self.isocentre)
        if len(poses) > 1:
            self.runner_up_gap = _gap(minimum, chosen, self.isocentre)
        self._ended = minimum.poses
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return minimum.poses[chosen[: stage.keep]]

    def _objective_at(self, stage: Stage, poses: np.ndarray) -> StageObjective:
        distance = float(np.linalg.norm(poses[0, :3, 3] - self.isocentre))
        return StageObjective(self.renderer, self.views, stage, self.isocentre, distance, self.clutter, self.prior)

    def weigh_down_clutter(self, poses: np.ndarray) -> None:
        """From now on, what none of ``poses`` explains at the scale of the last stage counts for less."""
        self.clutter = [
            clutter_weights(level, self.objective.render(n, poses)[0]) for n, level in enumerate(self.objective.levels)
        ]


def _distance_mm(a: np.ndarray, b: np.ndarray, isocentre: np.ndarray, radius_mm: float = 50.0) -> float:
    """How far two poses place the anatomy apart: shift of the isocentre plus the turn at ``radius_mm``."""
    difference = rigid.about_point(a @ rigid.inverse(b), -isocentre)
    angle = np.linalg.norm(rigid.so3_log(difference[:3, :3]))
    return float(np.hypot(np.linalg.norm(difference[:3, 3]), angle * radius_mm))


def _distinct(minimum: Minimum, isocentre: np.ndarray, apart_mm: float = 5.0) -> list[int]:
    """Indices of the distinct poses, best first: one of each group that ended in the same place."""
    chosen: list[int] = []
    for n in np.argsort(minimum.cost):
        if all(_distance_mm(minimum.poses[n], minimum.poses[c], isocentre) > apart_mm for c in chosen):
            chosen.append(int(n))
    return chosen


def _gap(minimum: Minimum, chosen: list[int], isocentre: np.ndarray, apart_mm: float = 10.0) -> float:
    """Relative distance in cost from the best pose to the best one that is clearly elsewhere."""
    best = chosen[0]
    for other in chosen[1:]:
        if _distance_mm(minimum.poses[other], minimum.poses[best], isocentre) > apart_mm:
            return float(minimum.cost[other] / max(minimum.cost[best], 1e-9)) - 1.0
    return float("inf")


def _judge(objective: StageObjective, pose: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean NCC over the windows that the CT projects into, and the pose's covariance, all views together."""
    similarities, curvature, pixels = [], np.zeros((6, 6)), 0.0
    for n, measure in enumerate(objective.similarities):
        drr, jacobian = objective.render(n, pose[None])
        ncc, _, normal = measure.terms(drr, jacobian)
        seen = np.trace(normal[0], axis1=1, axis2=2) > 0
        if not seen.any():
            continue
        weight = measure.weight * seen / (measure.weight * seen).sum()
        similarities.append(float((weight * ncc[0]).sum()))
        curvature += np.einsum("w,wab->ab", weight, normal[0])
        pixels += float((objective.levels[n].weight * (drr[0] > 0)).sum())
    if not similarities:
        return float("nan"), np.full((6, 6), np.nan)
    similarity = float(np.mean(similarities))
    return similarity, least_squares_covariance(1 - similarity, curvature / len(similarities), pixels)
