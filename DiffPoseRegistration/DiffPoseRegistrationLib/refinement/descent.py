"""From many starts to few poses: the stages of a schedule, and what became of each start."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ..geometry import rigid
from ..rendering.renderer import Renderer
from .judgement import similarity_at
from .levenberg_marquardt import minimise
from .optimiser import OnStep
from .schedule import Schedule, SearchSettings, Stage
from .starts import random_starts
from .views import PosePrior, StageObjective, View, clutter_weights, weights_without_glare

SAME_PLACE_MM = 5.0  # poses closer than this are one
ELSEWHERE_MM = 10.0  # poses further apart than this are two answers
SAME_NEIGHBOURHOOD_MM = 15.0  # a start that ended so near at a coarse stage led here
MOST_STARTS = 100
WIDER_STARTS = 60  # random poses of the wider search
_CANDIDATES_FOR_CLUTTER = 3
_HOPELESS = 10.0  # times the cost of the best pose: finer scales do not make up for that
_NOTABLE_CLUTTER = 0.12  # of the image


@dataclass(frozen=True)
class Alternative:
    """Another pose [4, 4] that survived, and how much worse it is: its 1 - NCC over the best pose's, less one, at the
    finest scale that compared them."""

    pose: np.ndarray
    gap: float


@dataclass(frozen=True)
class Found:
    """Where one pass over a schedule ended.

    pose
        [4, 4]. starts: how many poses were descended from.
    agreement
        Share of the starts that ended in this pose's neighbourhood; None if there was one only.
    alternatives
        The other answers that were left when more than one pose was, best first.
    """

    pose: np.ndarray
    starts: int
    agreement: float | None
    alternatives: tuple[Alternative, ...] = ()


class Descent:
    """Runs stages and keeps what they leave behind: time and trajectory."""

    _objective: StageObjective

    def __init__(
        self,
        renderer: Renderer,
        views: list[View],
        isocentre: np.ndarray,
        prior: PosePrior | None,
        on_step: OnStep | None,
    ) -> None:
        self.renderer, self.views, self.isocentre = renderer, views, isocentre
        self.prior, self.on_step = prior, on_step
        self._clutter: list[np.ndarray] | None = None
        self._stage: Stage | None = None  # the one of the last objective
        self.seconds: dict[str, float] = {}
        self.trajectory: list[dict] = []

    def from_starts(
        self, starts: np.ndarray, schedule: Schedule, settings: SearchSettings, hypotheses: np.ndarray
    ) -> Found:
        """The best pose that a whole schedule finds from ``starts`` [n, 4, 4]."""
        self._alternatives: tuple[Alternative, ...] = ()
        self._begin(starts)
        if schedule.screened:
            around = random_starts(hypotheses, self.isocentre, settings, schedule.screened)
            starts = self.best_of(np.concatenate([starts, around]), schedule.search[0], min(len(starts), MOST_STARTS))
        elif len(starts) > MOST_STARTS:
            starts = self.best_of(starts, schedule.search[0], MOST_STARTS)
        poses = self._searched(schedule, starts)
        if settings.rotation_deg > 0 and similarity_at(self._objective, poses[0]) < schedule.search_wider_below:
            # Nothing is lost by looking at many more poses, further away.
            around = random_starts(hypotheses, self.isocentre, settings.wider(), WIDER_STARTS)
            poses = self._searched(schedule, np.concatenate([starts, around]), poses)
        return self._found(self._through(schedule.refinement[1:], poses)[0])

    def so_far(self) -> Found:
        """The best pose of the pass that was broken off."""
        return self._found(self._best)

    def best_of(self, poses: np.ndarray, stage: Stage, count: int) -> np.ndarray:
        """The ``count`` poses of lowest cost at a stage, without moving them."""
        objective = self.objective_at(stage, poses)
        cost = np.concatenate([objective(part)[0] for part in np.array_split(poses, max(1, len(poses) // 32))])
        return poses[np.argsort(cost)[:count]]

    def objective_at_last(self, schedule: Schedule, poses: np.ndarray) -> StageObjective:
        """The objective of the schedule's last stage, which judges."""
        last = (schedule.search + schedule.refinement)[-1]
        return self._objective if self._stage is last else self.objective_at(last, poses)

    def objective_at(self, stage: Stage, poses: np.ndarray) -> StageObjective:
        distance = float(np.linalg.norm(poses[0, :3, 3] - self.isocentre))
        return StageObjective(self.renderer, self.views, stage, self.isocentre, distance, self._clutter, self.prior)

    def weigh_down_clutter(self, poses: np.ndarray, stage: Stage) -> None:
        """From now on, what none of ``poses`` explains at the scale of ``stage`` counts for less."""
        self._clutter, self._stage = None, None
        at_stage = self.objective_at(stage, poses)
        self._clutter = [
            clutter_weights(level, at_stage.render(n, poses)[0]) for n, level in enumerate(at_stage.levels)
        ]

    def _searched(self, schedule: Schedule, starts: np.ndarray, candidates: np.ndarray | None = None) -> np.ndarray:
        """The best distinct poses after the search from ``starts``, beside ``candidates`` of a search before, and after
        the stage that selects among what it found."""
        self._clutter, self._stage = None, None
        if schedule.clutter_aware and candidates is not None:
            self._clutter = [weights_without_glare(view.xray) for view in self.views]
        poses = self._through(schedule.search, self._begin(starts, candidates))
        if schedule.clutter_aware:
            self.weigh_down_clutter(poses[:_CANDIDATES_FOR_CLUTTER], schedule.search[-1])
            if self._cluttered():
                poses = self._through(schedule.search, self._begin(starts, poses))
        return self._through(schedule.refinement[:1], poses)

    def _cluttered(self) -> bool:
        """Whether the clutter is so large that it may have led the search astray."""
        return any(np.mean(weight < 0.5) > _NOTABLE_CLUTTER for weight in self._clutter or [])

    def _begin(self, starts: np.ndarray, candidates: np.ndarray | None = None) -> np.ndarray:
        """The poses to descend from: ``candidates`` of a search before, which are nobody's start, and ``starts``."""
        before = np.empty((0, 4, 4)) if candidates is None else candidates
        self._ends = np.array(starts)  # where each start has got to, also those that were dropped
        self._carrier = np.arange(len(starts)) + len(before)  # the pose that goes on for a start; -1: dropped
        poses = np.concatenate([before, starts])
        self._best = poses[0]
        return poses

    def _through(self, stages: tuple[Stage, ...], poses: np.ndarray) -> np.ndarray:
        for stage in stages:
            poses = self._run(stage, poses)
        return poses

    def _run(self, stage: Stage, poses: np.ndarray) -> np.ndarray:
        """The best distinct poses after one stage, as many as it keeps."""
        started = time.perf_counter()
        name = f"{stage.side} px"
        self._objective, self._stage = self.objective_at(stage, poses), stage

        def step(current: np.ndarray, cost: np.ndarray) -> None:
            best = int(np.argmin(cost))
            self._best = current[best].copy()
            self.trajectory.append({"stage": name, "cost": float(cost[best]), "pose": current[best].tolist()})
            if self.on_step is not None:
                self.on_step(name, current[best], float(cost[best]))

        minimum = minimise(
            self._objective,
            poses,
            self.isocentre,
            iterations=stage.iterations,
            tolerance_mm=stage.tolerance_mm,
            damping=stage.damping,
            on_step=step,
        )
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        chosen, group = _distinct(minimum.poses, minimum.cost, self.isocentre)
        goes_on = self._carrier >= 0
        self._ends[goes_on] = minimum.poses[self._carrier[goes_on]]
        self._carrier[goes_on] = group[self._carrier[goes_on]]
        keep = min(stage.keep, int(np.sum(minimum.cost[chosen] <= _HOPELESS * minimum.cost[chosen[0]])))
        self._carrier[self._carrier >= keep] = -1
        if len(poses) > 1:
            best, cost = minimum.poses[chosen[0]], minimum.cost
            self._alternatives = tuple(
                Alternative(minimum.poses[n], float(cost[n] / max(cost[chosen[0]], 1e-9)) - 1.0)
                for n in chosen[1:]
                if distance_mm(minimum.poses[n], best, self.isocentre) > ELSEWHERE_MM
            )
        self._best = minimum.poses[chosen[0]]
        return minimum.poses[chosen[:keep]]

    def _found(self, pose: np.ndarray) -> Found:
        agreement = None
        if len(self._ends) > 1:
            agreement = float(np.mean(distance_mm(self._ends, pose, self.isocentre) < SAME_NEIGHBOURHOOD_MM))
        return Found(pose, len(self._ends), agreement, self._alternatives)


def distance_mm(a: np.ndarray, b: np.ndarray, isocentre: np.ndarray, radius_mm: float = 50.0) -> np.ndarray:
    """How far poses [..., 4, 4] place the anatomy apart: shift of the isocentre plus the turn at ``radius_mm``."""
    difference = rigid.about_point(a @ rigid.inverse(b), -np.asarray(isocentre))
    angle = np.linalg.norm(rigid.so3_log(difference[..., :3, :3]), axis=-1)
    return np.hypot(np.linalg.norm(difference[..., :3, 3], axis=-1), angle * radius_mm)


def _distinct(poses: np.ndarray, cost: np.ndarray, isocentre: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Indices of the distinct poses, best first: one of each group that ended in the same place; and the group [n]
    that each pose belongs to, as a position in that list."""
    apart = distance_mm(poses[:, None], poses[None], isocentre)
    chosen: list[int] = []
    group = np.zeros(len(poses), dtype=int)
    for n in np.argsort(cost):
        near = np.flatnonzero(apart[n, chosen] <= SAME_PLACE_MM)
        if near.size:
            group[n] = near[0]
        else:
            group[n] = len(chosen)
            chosen.append(int(n))
    return chosen, group
